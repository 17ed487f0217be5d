"""A small Flask application that shows where it runs."""

import os
import platform

from flask import Flask, jsonify

app = Flask(__name__)


@app.get("/")
def index():
    return f"Hello from {os.environ.get('APRON_SERVICE', 'Flask')}, revision {os.environ.get('APRON_REVISION', '-')}\n"


@app.get("/about")
def about():
    return jsonify(
        python=platform.python_version(),
        port=os.environ.get("PORT"),
        greeting=os.environ.get("GREETING"),
        service=os.environ.get("APRON_SERVICE"),
        revision=os.environ.get("APRON_REVISION"),
    )


@app.get("/healthz")
def healthz():
    return "ok\n"
