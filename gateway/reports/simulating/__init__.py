"""What policies would have done to traffic that was there already: read, judged, priced and drawn. Nothing is sent."""
