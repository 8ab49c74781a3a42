"""Values of computed properties of a material, as predictions without spread."""

import math
from collections import Counter
from collections.abc import Iterable

from pymatgen.core.structure import Structure

from matgen.relaxation.magnetic_moments import site_moments
from matgen.structures.candidate import Material, Prediction, kind_of
from matgen.targets.computed import OF_MOMENTS, computed, computed_values
from matgen.targets.properties import COMPUTED_PROPERTIES
from matgen.targets.target import Target


def computed_predictions(
    material: Material, targets: Iterable[Target], *, moments: bool = True
) -> dict[str, Prediction]:
    """Return the values of the computed properties that have a target, by name.

    A value is NaN where a fact of an element is unknown, or CHGNet cannot read the structure.

    Args:
        material: a crystal or a molecule.
        targets: of the run.
        moments: whether to evaluate CHGNet for properties that need it, if there is a target for one; else those are
            left out.
    """
    asked = [target for target in computed(targets) if moments or target.name not in OF_MOMENTS]
    if not asked:
        return {}
    volume, moment = math.nan, math.nan
    if isinstance(material, Structure):
        volume = float(material.volume)
        if any(target.name in OF_MOMENTS for target in asked):
            found = site_moments([material])[0]
            moment = sum(found) if found else math.nan
    values = computed_values(kind_of(material), Counter(material.atomic_numbers), volume, moment)
    return {
        target.name: Prediction(
            values[target.name], 0.0, COMPUTED_PROPERTIES[target.name].unit, 0.0, float(target.met(values[target.name]))
        )
        for target in asked
    }
