"""Metrics of a set of structures: functions on lists of pymatgen structures; each result has its denominator.

    from matgen.metrics import Bootstrap, is_separated, share
    share("separated", [is_separated(s) for s in structures], requested=1000)

`estimate` defines results; `validity`, `uniqueness`, `distributions`, `coverage` and `matching` hold one family each.
"""

from matgen.metrics.coverage import Cutoffs, Features, coverage, features
from matgen.metrics.distributions import Profile, Traits, distances, profile, traits
from matgen.metrics.estimate import Bootstrap, Estimate, MetricError, average, median, pooled_share, share
from matgen.metrics.matching import match_everyone, match_rate, rms_distance, rmsd_to_relaxed
from matgen.metrics.uniqueness import first_of_kind
from matgen.metrics.validity import is_balanced_smact14, is_separated, is_spaced

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
