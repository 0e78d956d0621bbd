"""Painted films: from frames and a few painted keys to every frame in the looks of the keys.

Here live the frames of a film (`frames`, `video`, `naming`), its cuts (`shots`), its motion (`motion`), how a key is carried
from frame to frame (`carrying`), how two carried keys become one picture (`joining`), which keys decide which frames (`plan`),
what a killed run keeps (`work`), and the painted film as files (`folder`, `manifest`, `viewing`).

May import: `method`, `pictures`, `backends`, `files`, `settings`, `progress`, `errors`.
"""
