"""Reading of images and labels from files and from memory."""
