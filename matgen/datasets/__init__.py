"""Named data sets: tables of crystals as templates, free numbers, labels and splits."""
