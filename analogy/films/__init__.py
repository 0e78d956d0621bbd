"""Painting of every frame of a film in the style of its keys, a few frames that a user has painted.

`frames` and `video` read a film, `naming` finds the frame that a user means, and `shots` finds the
cuts. `plan` decides from which keys each frame is painted, `keys` reads and makes the keys, and
`clip` paints the frames: `motion` finds how the film moves, `carrying` carries a key along that
motion, `strokes` paints a frame with the carried key, and `joining` joins the two paintings of a
frame that lies between two keys. `work` saves the state of a run, so that the next run can continue
from it. `folder` writes the painted frames as files, `manifest` records these files, and `viewing`
makes videos and contact sheets of the frames. `writing` tests whether a video can be written, and
writes it, `encoding` lists the encodings to try, `copying` copies the sound and the subtitles of
the film, and `library` opens videos with PyAV.

These modules may import `method`, `pictures`, `backends`, `files`, `settings`, `progress` and
`errors`.
"""
