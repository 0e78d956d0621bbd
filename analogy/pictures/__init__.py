"""Pictures: any common file, PIL image or array becomes sRGB pixels, and results become files.

`images` defines a picture in memory. `reading` reads files and PIL images, `arrays` converts
arrays, and `writing` writes files. `listing` lists the pictures in a folder, and the paths that
match a pattern. Pillow decodes and encodes files. Other modules add what Pillow lacks:
`sixteen_bit` (RGB with 16 bits per channel), `tiff_numbers` and `scaling` (floats and 32-bit
integers), `pages` (files with several pictures), `scans` and `png_texts` (protection from files
that would take too much time or memory to decode). `colour` converts colours between ICC profiles,
and `resampling` resizes pictures on a GPU.

These modules may import `files`, `settings`, `progress` and `errors`.
"""
