"""The page. What it shows is computed in the rest of `residae`.

launch.py      how it starts
environment.py what it takes from the environment, and changes there
server.py      the server
page.py        layout, and the events that connect its parts
controls.py    the column at the left
tabs/          a file for each tab
viewer.py      the light table, on which pictures are shown
maps.py        the mosaic of channels and the error map beside it
refinement.py  the box Refine
components.py  components that several tabs use
text.py        figures and sentences
theme.py       colors and fonts; static/ has the style sheet and the scripts
endpoints.py   what programs can call
mcp.py         how tools of MCP take files
work.py        turns, priority, cancellation, progress and errors of work
turns.py       whose turn it is in front of the model
budget.py      how much work one request and one visitor may ask for
state.py       what a session remembers
sessions.py    sessions of Gradio: small ones, and which are forgotten first
stream.py      how the steps of an event reach the browser
store.py       pipelines in memory, uploads and results on disk
cache.py       what is kept so that it is there at once
guard.py       what the server accepts from strangers
zero_gpu.py    running on a ZeroGPU Space
"""
