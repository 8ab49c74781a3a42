"""What benchmarks share: options, tasks in parallel, records, pages, figures and data."""
