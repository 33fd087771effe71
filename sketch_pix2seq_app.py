"""A page to draw on: what you draw, or a photo of it, is drawn back stroke by stroke by a trained model.

    python sketch_pix2seq_app.py                                       # then open http://127.0.0.1:7860
    python sketch_pix2seq_app.py --model_dir outputs/snapshot assets/pretrained --port 8000

Draw and Photo draw again what they are given, Complete goes on where you stopped, Morph leads from one drawing to
another. Needs Gradio: pip install -r requirements-app.txt. Nothing leaves this machine, nothing is kept on its disk.
"""

from quiet_tensorflow import describe_device

import argparse
import dataclasses
import errno
import functools
import ipaddress
import logging
import os
import shutil
import signal
import socket
import tempfile
import threading
from pathlib import Path

import numpy as np
from PIL import Image

from app_drawings import (
    Drawn,
    blank,
    complete_lines,
    describe,
    draw_bitmap,
    encode_drawing,
    encode_morph,
    example_sheets,
    load,
    morph_sheets,
    open_photo,
    photo_html,
    read_photo,
    read_sheet,
    sheet_bitmap,
    sheet_view,
    show,
    tools,
)
from morph import path_data
from sampler import Sampler
from script import make_parser, run_script
from snapshots import find_snapshot

ROOT = Path(__file__).resolve().parent
MODEL_DIRS = ("assets/pixels", "assets/pretrained")  # by default, the first that has weights
EXAMPLE = ROOT / "assets/doodle.jpg"
MAX_UPLOAD, UPLOADS_KEPT = "20mb", (30, 30)  # seconds from one look for old uploads to the next, and how old they get
SESSIONS, SESSION_SECONDS = 50, 3600  # people whose drawings are kept in memory, and for how long
QUIET = {"show_progress": "hidden", "api_visibility": "private"}
DRAWING = {"show_progress": "minimal", "api_visibility": "private"}  # what takes long is seen to
LATEST = {**DRAWING, "trigger_mode": "always_last"}  # of what happens while the model still draws, only the last counts
PHOTO_HINT = "Dark lines on light paper, or light on dark."
MORPH_HINT = "Draw on both sheets; between them, one becomes the other."
CORNER = [np.array([[200.0, 200], [800, 200], [800, 800]])]  # a drawing
SHEET = (
    '<div class="sketch-pad"><div class="sheet"><canvas width="1000" height="1000"></canvas><div class="hint">{hint}'
    '</div></div><div class="tools"><button type="button" class="undo">↶ undo</button>'
    '<button type="button" class="clear">✕ clear</button>{examples}</div></div>'
)
MORPH = (
    '<div class="morph"><div class="blank"><p class="note"></p></div><div class="moves"><div class="large">'
    '<svg viewBox="0 0 400 400"><path d=""/></svg></div>'
    '<input type="range" min="0" max="1" step="0.001" value="0" aria-label="from one to the other">'
    '<div class="tools"><button type="button" class="loop">▶ loop</button></div>{tools}</div></div>'
)


class Page:
    """The layout, and what happens when something is drawn. ``gr`` is Gradio."""

    def __init__(self, gr, model_dirs: list[str], data_dir: str):
        self.gr, self.data_dir, self.model_dirs = gr, data_dir, model_dirs
        self.examples = example_sheets(data_dir)
        self.head = f"<script>{(ROOT / 'assets/app.js').read_text()}</script>"
        with gr.Blocks(title="sketch-pix2seq", analytics_enabled=False, delete_cache=UPLOADS_KEPT) as self.blocks:
            gr.Markdown("# Draw, and see it drawn back")
            self.file = gr.JSON(visible="hidden")
            self.settings, redraws = [], []
            with gr.Tab("Draw"):
                redraws.append(self.lay_out_draw())
            with gr.Tab("Photo"):
                redraws.append(self.lay_out_photo())
            with gr.Tab("Complete"):
                redraws.append(self.lay_out_complete())
            with gr.Tab("Morph"):
                redraws.append(self.lay_out_morph())
            changes = self.lay_out_settings()
            for function, inputs, outputs, events in redraws:
                how = {"show_progress_on": outputs[1], **LATEST}
                gr.on([*events, *changes], function, [*inputs, *self.settings], outputs, **how)

    # ---- parts

    def html(self, script: str, template: str = "${value}", **how):
        """A component whose part in the browser is a function of assets/app.js."""
        call = f"sketch.{script}(element, props, trigger, watch)"
        how = {"head": self.head, "apply_default_css": False, **how}
        return self.gr.HTML(html_template=template, js_on_load=call, **how)

    def sheet(self, hint: str, examples: bool = True):
        examples = f"<span>or</span>{self.examples}" if examples and self.examples else ""
        return self.html("pad", SHEET.format(hint=hint, examples=examples), value=[])

    def result(self, encode=encode_drawing, template: str = "${value}", script: str = "result", **how):
        """(what was made, in this session alone; where it is shown), with files to take away."""
        made = self.gr.State(time_to_live=SESSION_SECONDS)
        shown = self.html(script, template, **how)

        def take_away(made, event: self.gr.EventData):
            return None if made is None else encode(made, event._data)

        saved = shown.select(take_away, made, self.file, **QUIET)
        saved.then(None, self.file, None, js="(file) => sketch.save(file)", **QUIET)
        return made, shown

    def columns(self, count: int = 2) -> list:
        """Columns that stand below each other on a phone."""
        with self.gr.Row():
            return [self.gr.Column(min_width=280) for _ in range(count)]

    def answer(self, draw, *inputs):
        """(what ``draw`` makes of inputs, the last of which are the settings; HTML of it), or (None, what is wrong)."""
        *own, model_dir, temperature, pen_temperature, seed, tries = inputs
        try:
            drawn = draw(*own, self.sampler(model_dir, temperature, pen_temperature, seed, tries))
        except (ValueError, OSError) as error:
            return None, blank(str(error))
        return drawn, show(drawn)

    def sampler(self, model_dir, temperature, pen_temperature, seed, tries) -> Sampler:
        """The model chosen, drawing as asked for. Raises ValueError."""
        if model_dir not in self.model_dirs:
            raise ValueError(f"{model_dir}: no such model here.")
        wrong = ValueError("Expected a seed of 0 or more, temperatures of 0.01 to 2, and 1 to 16 drawings.")
        try:
            temperature, pen, seed, tries = (float(value or 0) for value in (temperature, pen_temperature, seed, tries))
        except (TypeError, ValueError):
            raise wrong from None
        if not (0 <= seed < 2**31 and 0.01 <= temperature <= 2 and 0 <= pen <= 2 and 1 <= tries <= 16):
            raise wrong
        how = {"temperatures": [temperature], "pen_temperature": pen or None}
        return dataclasses.replace(load(model_dir), num=int(tries), seed=int(seed), **how)

    # ---- tabs: each returns (function, its inputs besides the settings, its outputs, events that call it)

    def lay_out_draw(self):
        left, right = self.columns()
        with left:
            sheet = self.sheet("draw here")
        with right:
            made, shown = self.result(value=blank("The model's strokes appear here as soon as you lift the pen."))

        def draw(value, sampler: Sampler) -> Drawn:
            lines = read_sheet(value)
            return draw_bitmap(sheet_bitmap(lines, sampler), sampler)._replace(view=sheet_view(lines))

        return lambda *inputs: self.answer(draw, *inputs), [sheet], [made, shown], [sheet.change]

    def lay_out_photo(self):
        gr, (left, right) = self.gr, self.columns()
        photo, box = gr.State(time_to_live=SESSION_SECONDS), gr.State()
        with left:
            framed = self.html("photo", value="")
            sources = ["upload", "webcam", "clipboard"]
            upload = gr.Image(sources=sources, label="photo, scan or SVG", height=220, buttons=[])
            example = gr.Button("or take this photo of a doodle", size="sm")
        with right:
            made, shown = self.result(value=blank(PHOTO_HINT))

        def read(open_file, *file):
            if file == (None,):
                return gr.skip()
            try:
                photo = open_file(*file)
            except (ValueError, OSError) as error:
                return None, None, "", None, None, blank(str(error))
            return photo, None, photo_html(photo, None), None, None, gr.skip()

        def draw(photo, box, *settings):
            if photo is None:
                return gr.skip()
            found = [box or (0.0, 0.0, 1.0, 1.0)]

            def draw_photo(sampler: Sampler) -> Drawn:
                bitmap, *found[:] = read_photo(photo, sampler, box)
                return draw_bitmap(bitmap, sampler)

            made, shown = self.answer(draw_photo, *settings)
            return made, shown, photo_html(photo, *found)

        def move(event: gr.EventData):
            return event._data["box"]

        opened = [photo, box, framed, upload, made, shown]
        own, given = functools.partial(read, take_upload), functools.partial(read, lambda: open_photo(EXAMPLE))
        self.then_draw = [upload.input(own, upload, opened, preprocess=False, **QUIET)]  # the limits are load_image's
        self.then_draw += [example.click(given, None, opened, **QUIET)]
        self.then_draw += [framed.select(move, None, box, **QUIET)]
        self.draw_photo = draw, [photo, box], [made, shown, framed]
        return *self.draw_photo, []

    def lay_out_complete(self):
        left, right = self.columns()
        with left:
            sheet = self.sheet("begin a drawing", examples=False)
        with right:
            made, shown = self.result(value=blank("Yours stays blue; the model goes on in black, in several ways."))

        def draw(value, sampler: Sampler) -> Drawn:
            return complete_lines(read_sheet(value), sampler, self.data_dir)

        return lambda *inputs: self.answer(draw, *inputs), [sheet], [made, shown], [sheet.change]

    def lay_out_morph(self):
        left, middle, right = self.columns(3)
        with left:
            first = self.sheet("from this")
        with middle:
            buttons = tools({"svg": "SVG, moves", "gif": "GIF"})
            how = {"template": MORPH.format(tools=buttons), "script": "morph", "value": {"note": MORPH_HINT}}
            made, shown = self.result(encode_morph, **how)
        with right:
            second = self.sheet("to this")

        def draw(one, other, *settings):
            try:
                if not (one and other):
                    raise ValueError(MORPH_HINT)
                frames = morph_sheets(read_sheet(one), read_sheet(other), self.sampler(*settings))
            except (ValueError, OSError) as error:
                return None, {"note": str(error)}
            return frames, {"frames": [path_data(frame) for frame in frames]}

        return draw, [first, second], [made, shown], [first.change, second.change]

    def lay_out_settings(self) -> list:
        """What all tabs share -> the events at which each draws again."""
        gr = self.gr
        with gr.Accordion("How it draws", open=False):
            with gr.Row():
                temperature = gr.Slider(0.01, 1.5, 0.1, step=0.01, label="temperature", info="higher: looser lines")
                pen = gr.Slider(0, 1.5, 0, step=0.01, label="pen temperature", info="of lifting the pen; 0: the same")
            with gr.Row():
                tries = gr.Slider(1, 16, 4, step=1, label="best of", info="so many are drawn, the four closest shown")
                seed = gr.Number(0, precision=0, minimum=0, label="seed", info="another one, another drawing")
        names = [(Path(path).name, path) for path in self.model_dirs]
        model = gr.Dropdown(names, value=self.model_dirs[0], label="model", visible=len(self.model_dirs) > 1)
        about = gr.Markdown(describe(self.model_dirs[0]), elem_classes="about")
        self.settings = [model, temperature, pen, seed, tries]
        model.change(lambda name: describe(name) if name in self.model_dirs else "", model, about, **QUIET)
        for event in self.then_draw:
            draw, inputs, outputs = self.draw_photo
            event.then(draw, [*inputs, *self.settings], outputs, show_progress_on=outputs[1], **DRAWING)
        return [model.change, temperature.release, pen.release, tries.release, seed.change]


# ---------------------------------------------------------------------------------------------------------
# The server


def import_gradio(directory: str):
    """Gradio, which asks nothing of the network and keeps uploads in ``directory``. Raises ValueError."""
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", "GRADIO_TEMP_DIR": directory}
    try:
        import gradio
    except ImportError:
        raise ValueError("Gradio is not installed; install it with: pip install -r requirements-app.txt") from None
    return gradio


def take_upload(file: dict) -> Image.Image:
    """The picture in a file that Gradio says was uploaded, {"path"}. Raises ValueError.

    What a browser sends as a path may be anybody's file: Gradio does not always look.
    """
    path = Path(file["path"]).resolve()
    if not path.is_relative_to(Path(os.environ["GRADIO_TEMP_DIR"]).resolve()):
        raise ValueError(f"{path.name} was not uploaded")
    return open_photo(path)


def find_port(host: str, port: int) -> int:
    """The port if it is free, any free one for 0. Raises ValueError."""
    try:
        with socket.create_server((host, port)) as server:
            return server.getsockname()[1]
    except (OSError, OverflowError) as error:
        reason = "it is in use" if getattr(error, "errno", 0) == errno.EADDRINUSE else error
        raise ValueError(f"port {port} of {host} cannot be used ({reason}); take another --port") from None


def warm_up(model_dir: str) -> None:
    """Draw once, as the first drawing takes seconds."""
    for tries in (4, 1):
        sampler = dataclasses.replace(load(model_dir), num=tries)
        draw_bitmap(sheet_bitmap(CORNER, sampler), sampler)


def warm_up_others(model_dirs: list[str], data_dir: str) -> None:
    """The same, of what is seldom the first thing that somebody does."""
    complete_lines(CORNER, load(model_dirs[0]), data_dir)
    for model_dir in model_dirs[1:]:
        warm_up(model_dir)


def end_at_signals(directory: str) -> None:
    """From now on Ctrl-C and SIGTERM end the process at once, whatever it does, and remove the directory."""

    def end(*_):
        shutil.rmtree(directory, ignore_errors=True)
        os.write(1, b"ended\n")  # print may be what was interrupted
        os._exit(0)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)


def serve(gr, args: argparse.Namespace, port: int) -> None:
    """Show the page for ever."""
    page = Page(gr, args.model_dir, args.data_dir).blocks
    page.launch(
        server_name=args.host,
        server_port=port,
        prevent_thread_lock=True,
        quiet=True,
        share=False,
        ssr_mode=False,
        enable_monitoring=False,
        max_file_size=MAX_UPLOAD,
        state_session_capacity=SESSIONS,
        footer_links=[],
        css=(ROOT / "assets/app.css").read_text(),
        theme=gr.themes.Soft(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
    )
    address = "127.0.0.1" if args.host == "0.0.0.0" else args.host
    print(f"draw at http://{address}:{port} (Ctrl-C ends it)", flush=True)
    threading.Thread(target=warm_up_others, args=[args.model_dir, args.data_dir], daemon=True).start()
    threading.Event().wait()


def parse_args(argv) -> argparse.Namespace:
    parser = make_parser(__doc__)
    default = next((path for path in MODEL_DIRS if find_snapshot(ROOT / path)), MODEL_DIRS[-1])
    several = "one or more snapshot directories, to choose from on the page"
    parser.add_argument("--model_dir", nargs="+", default=[default], help=f"{several} (default: {default})")
    parser.add_argument("--data_dir", default="datasets", help="whose npz/ holds drawings that Complete looks among")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at; 0.0.0.0: all of this machine's")
    parser.add_argument("--port", type=int, default=7860, help="0: any that is free")
    return parser.parse_args(argv)


def main(argv=None) -> None:
    """Serve the page until a signal ends the process. Raises ValueError."""
    args = parse_args(argv)
    with tempfile.TemporaryDirectory() as directory:
        end_at_signals(directory)
        gr, port = import_gradio(directory), find_port(args.host, args.port)
        logging.getLogger("tensorflow").setLevel(logging.ERROR)  # that each model is compiled anew is no warning
        print(describe_device())
        for model_dir in args.model_dir:
            load(model_dir).require_images("--model_dir")
        warm_up(args.model_dir[0])
        if not ipaddress.ip_address(socket.gethostbyname(args.host)).is_loopback:
            print("everyone who reaches this machine can draw on this page")
        serve(gr, args, port)


if __name__ == "__main__":
    run_script(main)
