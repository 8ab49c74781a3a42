"""Figures of a set of structures: plain functions on lists of pymatgen structures, each figure with its denominator.

    from matgen.validation.metrics import Bootstrap, is_separated, share
    share("separated", [is_separated(s) for s in structures], requested=1000)

`estimate` holds what a figure is; `validity`, `uniqueness`, `distributions`, `coverage` and `matching` one family each.
"""

from matgen.validation.metrics.coverage import Cutoffs, Features, coverage, features
from matgen.validation.metrics.distributions import Profile, Traits, distances, profile, traits
from matgen.validation.metrics.estimate import Bootstrap, Estimate, MetricError, average, median, pooled_share, share
from matgen.validation.metrics.matching import match_everyone, match_rate, rms_distance, rmsd_to_relaxed
from matgen.validation.metrics.uniqueness import first_of_kind
from matgen.validation.metrics.validity import is_balanced_smact14, is_separated, is_spaced

__all__ = [
    "Bootstrap",
    "Cutoffs",
    "Estimate",
    "Features",
    "MetricError",
    "Profile",
    "Traits",
    "average",
    "coverage",
    "distances",
    "features",
    "first_of_kind",
    "is_balanced_smact14",
    "is_separated",
    "is_spaced",
    "match_everyone",
    "match_rate",
    "median",
    "pooled_share",
    "profile",
    "rms_distance",
    "rmsd_to_relaxed",
    "share",
    "traits",
]
