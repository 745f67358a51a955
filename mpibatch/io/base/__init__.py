"""What reading and writing share: names, geometry, room on the disk, closing."""
