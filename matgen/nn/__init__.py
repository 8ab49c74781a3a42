"""Networks: modules that know neither data sets nor samplers."""
