"""Serves moto on a free port of the loopback address until standard input ends."""

import json
import logging
import os
import sys
import threading

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server


def end_with_stdin():
    sys.stdin.read()
    os._exit(0)


logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True)
threading.Thread(target=end_with_stdin, daemon=True).start()
print(json.dumps({"addr": f"http://127.0.0.1:{server.server_port}"}), flush=True)
server.serve_forever()
