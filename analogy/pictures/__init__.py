"""Pictures in and out: any common file, PIL image or array becomes sRGB pixels, and results become files.

Here live a picture in memory (`images`), its reading and writing (`reading` with `arrays`, `writing`), RGB with 16 bits per
channel (`sixteen_bit`), ICC profiles and colour spaces (`colour`), the frames of a film (`frames`, `video`), files that
appear whole or not at all (`files`), folders whose content is one run's (`folders`), and what a killed run leaves
(`temporary`). Pillow decodes and encodes pictures, PyAV videos.

What comes in: whatever a user calls a picture. What goes out: (H, W, 3) arrays on the host, and files.

May import: `settings`, `errors`, `inputs`.
"""
