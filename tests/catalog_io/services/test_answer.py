"""What a service answers: a whole image, words, or something that refers elsewhere."""

import io

import numpy as np
import pytest
from astropy.io import fits

from radio_ag.catalog_io.services.answer import check_fits, refuse_references
from radio_ag.catalog_io.services.http import Failure


def _fits(data):
    content = io.BytesIO()
    fits.PrimaryHDU(data).writeto(content)
    return content.getvalue()


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(3, 5), (60, 61), (1, 1, 7, 8)])
def test_a_whole_fits_file_passes(kind, shape):
    content = _fits(np.ones(shape, kind))
    check_fits(content)
    needed = 2880 + np.ones(shape, kind).nbytes
    check_fits(content[:needed])  # padding may be missing
    with pytest.raises(Failure) as caught:
        check_fits(content[: needed - 1])
    assert caught.value.status == "truncated"
    assert caught.value.passing


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"<html>down</html>", "not_an_image"),
        (b"\x89PNG\r\n", "not_an_image"),
        (b"SIMPLE  =" + b"\xff\x00" * 3000, "not_an_image"),
        (b"SIMPLE  =                    T", "truncated"),
        (_fits(np.ones((60, 61)))[:1500], "truncated"),
    ],
)
def test_what_is_no_fits_file(content, status):
    with pytest.raises(Failure) as caught:
        check_fits(content)
    assert caught.value.status == status


_VOTABLE = """<VOTABLE version="1.3"><RESOURCE><TABLE><FIELD name="x" datatype="char" arraysize="*"/>
<DATA>{}</DATA></TABLE></RESOURCE></VOTABLE>"""
_STREAM = '<BINARY><STREAM href="file:///etc/passwd"/></BINARY>'


@pytest.mark.parametrize(
    "content",
    [
        _VOTABLE.format(_STREAM).encode(),
        b"\xef\xbb\xbf \n" + _VOTABLE.format(_STREAM).encode(),
        _VOTABLE.format(_STREAM).encode("utf-16"),
        _VOTABLE.replace("<VOTABLE", '<v:VOTABLE xmlns:v="http://x"')
        .replace("</VOTABLE", "</v:VOTABLE")
        .format(_STREAM.replace("STREAM", "v:STREAM"))
        .encode(),
        f"<!DOCTYPE v [<!ENTITY s '{_STREAM}'>]>{_VOTABLE.format('&s;')}".encode(),
        f'<!DOCTYPE v [<!ENTITY s SYSTEM "file:///etc/passwd">]>{_VOTABLE.format("")}'.encode(),
        _VOTABLE.format(_STREAM).encode()[:-30],  # cut off behind it
    ],
)
def test_an_answer_that_refers_elsewhere_is_refused(content):
    with pytest.raises(Failure, match="the answer refers to file:///etc/passwd, which is not opened") as caught:
        refuse_references(content)
    assert (caught.value.status, caught.value.passing) == ("not_an_image", False)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"SIMPLE  =                    T",
        b"<html>Maintenance",
        b"# services\nivo://x = http://y",
        _VOTABLE.format("<TABLEDATA><TR><TD>href</TD></TR></TABLEDATA>").encode(),
        _VOTABLE.format('<BINARY><STREAM encoding="base64">AAAA</STREAM></BINARY>').encode(),
    ],
)
def test_an_answer_that_is_whole_is_not(content):
    refuse_references(content)
