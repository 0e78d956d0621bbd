"""Web service that makes image analogies, in twenty lines of Flask.

flask --app tools/examples/flask_app run
curl -F a=@photo.jpg -F b_prime=@painting.jpg -F preset=fast http://127.0.0.1:5000 -o picture.png
"""

import io

import flask

import analogy

app = flask.Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 30_000_000
# Each process needs its own engine, since the threads of an engine do not survive a fork.
engine = analogy.Engine(max_input_pixels=20_000_000)


@app.post("/")
def transfer() -> flask.Response:
    a, b_prime = (flask.request.files[name].read() for name in ("a", "b_prime"))
    result = engine.transfer(a, b_prime, flask.request.form.get("preset"), direction="ab")
    png = io.BytesIO()
    result.save(png, format="png")
    return flask.Response(png.getvalue(), mimetype="image/png")


@app.errorhandler(analogy.AnalogyError)
def refuse(error: analogy.AnalogyError) -> tuple[str, int]:
    return f"{error}\n", 400
