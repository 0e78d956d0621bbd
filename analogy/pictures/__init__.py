"""Pictures in and out: any common file, PIL image or array becomes sRGB pixels, and results become files.

Here live a picture in memory (`images`), its reading and writing (`reading` with `arrays`,
`writing`), lists of picture files (`listing`), RGB with 16 bits per channel (`sixteen_bit`), ICC
profiles and colour spaces (`colour`), and smaller sizes (`resampling`). Pillow decodes and encodes
pictures.

What comes in: whatever a user calls a picture. What goes out: (H, W, 3) arrays on the host, and
files.

May import: `files`, `settings`, `progress`, `errors`.
"""
