"""Pictures: any common file, PIL image or array becomes sRGB pixels, and results become files.

`images` holds a picture in memory, `reading` (with `arrays`) reads it, and `writing` writes it.
`listing` lists the pictures of a folder or a pattern. Pillow decodes and encodes; what it lacks is
in `sixteen_bit` (RGB with 16 bits per channel), `tiff_numbers` and `scaling` (floats and 32-bit
integers), `pages` (files with several pictures), `scans` and `png_texts` (files that cost too much
to decode). `colour` converts ICC profiles, and `resampling` resizes on a GPU.

These modules may import `files`, `settings`, `progress` and `errors`.
"""
