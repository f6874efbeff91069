"""Times an engine on workloads that every engine can be given alike: what ``pagednb bench`` runs."""
