"""Policies tried on traffic that was there already: read, judged, priced and drawn. Nothing is sent."""
