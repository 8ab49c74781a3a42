"""Results of runs in the formats of other programs: databases of ASE, OPTIMADE, entries of pymatgen, plain files."""
