"""Any face mesh made to speak: the packaged head laid over it once, and motion carried across, frame by frame."""
