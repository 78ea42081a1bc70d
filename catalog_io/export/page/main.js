// Start.

buildTheme();
buildLabelling();
buildModes();
buildFilters();
buildSort();
buildPictureControls(byId("picture-controls"), false);
buildPictureControls(byId("detail-controls"), true);
buildDetail();
buildPages();
buildPanel();
buildHelp();
byId("select-shown").addEventListener("click", () => select(visible, Boolean(byId("select-shown").dataset.on)));
byId("download").addEventListener("click", downloadSelection);
byId("clear").addEventListener("click", () => select([...selected], false));
gallery.addEventListener("keydown", galleryKey);
document.addEventListener("keydown", pageKey);

let awaiting = false;
window.addEventListener("scroll", () => {
  if (awaiting) return;
  awaiting = true;
  requestAnimationFrame(() => { awaiting = false; updateGallery(); });
}, { passive: true });
new ResizeObserver(() => layOutGallery()).observe(byId("gallery").parentElement);

filtersChanged();
openAddress();
