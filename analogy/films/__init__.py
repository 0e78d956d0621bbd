"""Painted films: from frames and a few painted keys to every frame in the looks of the keys.

`frames` and `video` read a film, `naming` finds the frame that a caller means, and `shots` finds
the cuts. `plan` says which keys decide which frames, `keys` reads and makes the keys, and `clip`
paints the frames: `motion` finds how the film moves, `carrying` carries a key along that motion,
and `joining` makes one picture of two carried keys. `work` keeps the state of a run for the next
one. `folder` writes the painted frames as files, `manifest` records them, and `viewing` makes
videos and contact sheets of them: `writing` tries and writes a video, `encoding` lists the ways to
encode its pictures, `copying` takes over the sound and the subtitles of the film, and `library`
opens videos with PyAV.

May import: `method`, `pictures`, `backends`, `files`, `settings`, `progress`, `errors`.
"""
