"""The model both engines train, and the processes it is split over."""
