"""Logical rules on composition and coordination, such as `Li implies O`: read, measured, checked for contradictions."""
