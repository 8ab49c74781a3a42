"""What differs between crystals and molecules on the way from a request to proposals."""

from matgen.generation.host_plan import HeldPlan
from matgen.generation.kinds.base import Kind
from matgen.generation.kinds.crystals import Crystals
from matgen.generation.kinds.held_crystals import HeldCrystals
from matgen.generation.kinds.molecules import Molecules
from matgen.generation.request import Request
from matgen.weights.models import load_models, load_molecule_models
from matgen.weights.shipped import folder_of


def kind_of_request(request: Request) -> Kind:
    """Return the kind of material of a request, with its weights or the shipped ones.

    Raises:
        WeightsError: a weight file is missing or damaged.
    """
    device, folder, files = request.resources.device, folder_of(request.resources.weights), request.property_files
    if request.kind == "crystal":
        crystals = Crystals(request, load_models(device, folder, files))
        plan = request.host_plan
        return HeldCrystals(crystals, plan) if isinstance(plan, HeldPlan) else crystals
    return Molecules(request, load_molecule_models(device, folder, files))
