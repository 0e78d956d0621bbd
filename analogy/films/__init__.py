"""Painted films: a film and a few painted keys become a film that is painted in every frame.

`frames` and `video` read a film, `naming` finds the frame that a user means, and `shots` finds the
cuts. `plan` says which keys decide which frames, `keys` reads and makes the keys, and `clip` paints
the frames: `motion` finds how the film moves, `carrying` carries a key along that motion, `strokes`
paints a frame with it, and `joining` joins the paintings that two keys make of a frame. `work`
keeps the state of a run for the next one. `folder` writes the painted frames as files, `manifest`
records them, and `viewing` makes videos and contact sheets of them: `writing` tries and writes a
video, `encoding` lists the encodings to try, `copying` copies the sound and the subtitles of the
film, and `library` opens videos with PyAV.

These modules may import `method`, `pictures`, `backends`, `files`, `settings`, `progress` and
`errors`.
"""
