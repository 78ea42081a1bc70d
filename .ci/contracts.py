"""A contract of import-linter: each room imports from the rooms that are listed for it, and from no other."""

from collections.abc import Iterator

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class RoomsContract(Contract):
    """Rooms are modules or folders, named from the package on: ``"network: preprocess weights"``, ``"cli: *"``.

    What lies in ``base`` may be imported everywhere. A module belongs to the longest room that it lies in; a package
    that only holds rooms belongs to none, and a module without a room breaks the contract.
    """

    type_name = "rooms"
    package = fields.StringField()
    base = fields.ListField(subfield=fields.StringField())
    rooms = fields.ListField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Return the imports that lead into a room which is not listed, and the modules that have no room."""
        rooms = (line.partition(":") for line in self.rooms)
        listed = {room: {room, *self.base, *names.split()} for room, _, names in rooms}
        broken = []
        for module in sorted(graph.modules - {self.package}):
            name = self._name(module)
            if name not in listed and any(_lies_in(room, name) for room in listed):
                continue  # it only holds rooms
            room = max((room for room in listed if _lies_in(name, room)), key=len, default=None)
            if room is None:
                broken.append(f"{name} lies in no room")
            elif "*" not in listed[room]:
                broken += self._leading_elsewhere(graph, module, listed[room])
        return ContractCheck(kept=not broken, metadata={"broken": broken})

    def _leading_elsewhere(self, graph: ImportGraph, module: str, allowed: set[str]) -> Iterator[str]:
        for imported in sorted(graph.find_modules_directly_imported_by(module) - {self.package}):
            if not any(_lies_in(self._name(imported), room) for room in allowed):
                for found in graph.get_import_details(importer=module, imported=imported):
                    yield f"{module}:{found['line_number']} imports {self._name(imported)}"

    def _name(self, module: str) -> str:
        return module.removeprefix(f"{self.package}.")

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print one line for each import that breaks the contract."""
        for line in check.metadata["broken"]:
            output.print_error(line)


def _lies_in(name: str, room: str) -> bool:
    return f"{name}.".startswith(f"{room}.")
