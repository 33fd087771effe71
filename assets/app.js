// What sketch_pix2seq_app.py needs in the browser. Each function is the js_on_load of a gr.HTML component: it gets the
// component's element, its props, and functions that tell the server of an event and watch what the server sets.
const sketch = {
  // A sheet to draw on; value: a list of lines, each a list of [x, y], 0 to 1000.
  pad(element, props, trigger, watch) {
    const canvas = element.querySelector("canvas"), pen = canvas.getContext("2d");
    let lines = [], line = null, pointer = null;
    const draw = () => {
      pen.clearRect(0, 0, 1000, 1000);
      pen.lineWidth = 9;
      pen.lineCap = pen.lineJoin = "round";
      pen.strokeStyle = "#1b1b1b";
      for (const points of line ? [...lines, line] : lines) {
        pen.beginPath();
        pen.moveTo(...points[0]);
        for (const point of points.slice(1)) pen.lineTo(...point);
        if (points.length === 1) pen.lineTo(points[0][0] + 0.1, points[0][1]); // of no length, it would not be drawn
        pen.stroke();
      }
      element.querySelector(".hint").hidden = lines.length > 0 || line !== null;
    };
    const place = (event) => {
      const box = canvas.getBoundingClientRect();
      return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height].map(
        (share) => Math.round(1000 * Math.min(Math.max(share, 0), 1)),
      );
    };
    const change = (now) => {
      lines = now;
      props.value = lines.slice();
      draw();
    };
    canvas.addEventListener("pointerdown", (event) => {
      if (pointer !== null || event.button !== 0) return;
      pointer = event.pointerId;
      canvas.setPointerCapture(pointer);
      line = [place(event)];
      draw();
    });
    canvas.addEventListener("pointermove", (event) => {
      if (event.pointerId !== pointer) return;
      const moves = event.getCoalescedEvents?.() ?? [];
      for (const move of moves.length ? moves : [event]) {
        const [x, y] = place(move), [lastX, lastY] = line.at(-1);
        if (Math.hypot(x - lastX, y - lastY) >= 3) line.push([x, y]);
      }
      draw();
    });
    const lift = (event) => {
      if (event.pointerId !== pointer) return;
      const drawn = line;
      pointer = line = null;
      change([...lines, drawn]);
    };
    canvas.addEventListener("pointerup", lift);
    canvas.addEventListener("pointercancel", lift);
    element.querySelector(".undo").onclick = () => change(lines.slice(0, -1));
    element.querySelector(".clear").onclick = () => change([]);
    for (const example of element.querySelectorAll("[data-lines]"))
      example.onclick = () => change(JSON.parse(example.dataset.lines));
    watch("value", () => {
      lines = props.value ?? [];
      draw();
    });
    draw();
  },

  speed: 1,

  // Drawings of which one is large; the event "select" says {format, index} of what is to be taken away.
  result(element, props, trigger, watch) {
    let chosen = 0;
    const play = (again) => {
      for (const moving of element.getAnimations({ subtree: true })) {
        if (!moving.effect?.target?.closest?.(".large")) continue;
        moving.playbackRate = sketch.speed;
        if (again) moving.currentTime = 0;
        moving.play();
      }
    };
    const choose = (index) => {
      chosen = index;
      const large = element.querySelector(".large"), small = element.querySelectorAll(".small");
      if (!large) return;
      const picture = small[index].querySelector("svg").cloneNode(true), view = large.dataset.view;
      if (view) { // as large as on the sheet, and with its pen
        picture.setAttribute("viewBox", view);
        picture.querySelector("g").setAttribute("stroke-width", 0.009 * Number(view.split(" ")[2]));
      }
      picture.querySelector("rect").remove();
      const whole = picture.cloneNode(true); // pale, so that what will be drawn is seen at once
      whole.classList.add("whole");
      large.replaceChildren(whole, picture);
      small.forEach((figure, i) => figure.setAttribute("aria-pressed", i === index));
      element.querySelector(".speed").value = sketch.speed;
      play(false);
    };
    element.addEventListener("click", (event) => {
      const small = event.target.closest(".small"), format = event.target.closest("[data-format]");
      if (small) choose([...element.querySelectorAll(".small")].indexOf(small));
      if (event.target.closest(".replay, .large")) choose(chosen);
      if (format) trigger("select", { format: format.dataset.format, index: chosen });
    });
    element.addEventListener("change", (event) => {
      if (!event.target.matches(".speed")) return;
      event.stopPropagation();
      sketch.speed = Number(event.target.value);
      play(true);
    });
    watch("value", () => choose(0));
  },

  // A photo and the frame of what is read; the event "select" says {box} once the frame was moved.
  photo(element, props, trigger, watch) {
    let box = null, grip = null, from = null;
    const frame = () => element.querySelector(".frame");
    const draw = () => {
      const [left, top, right, bottom] = box.map((share) => 100 * share);
      Object.assign(frame().style, {
        left: `${left}%`, top: `${top}%`, width: `${right - left}%`, height: `${bottom - top}%`,
      });
    };
    const place = (event) => {
      const all = element.querySelector(".photo").getBoundingClientRect();
      return [(event.clientX - all.left) / all.width, (event.clientY - all.top) / all.height];
    };
    const limit = (value, low, high) => Math.min(Math.max(value, low), high);
    element.addEventListener("pointerdown", (event) => {
      const held = event.target.closest(".frame, .corner");
      if (!held) return;
      box = frame().dataset.box.split(" ").map(Number);
      [grip, from] = [held.dataset.grip ?? "all", [place(event), box]];
      held.setPointerCapture(event.pointerId);
      event.preventDefault();
    });
    element.addEventListener("pointermove", (event) => {
      if (!grip) return;
      const now = place(event), [then, [left, top, right, bottom]] = from;
      const [across, down] = [now[0] - then[0], now[1] - then[1]];
      if (grip === "all") {
        const [x, y] = [limit(across, -left, 1 - right), limit(down, -top, 1 - bottom)];
        box = [left + x, top + y, right + x, bottom + y];
      } else {
        box = [
          grip.includes("l") ? limit(left + across, 0, right - 0.05) : left,
          grip.includes("t") ? limit(top + down, 0, bottom - 0.05) : top,
          grip.includes("r") ? limit(right + across, left + 0.05, 1) : right,
          grip.includes("b") ? limit(bottom + down, top + 0.05, 1) : bottom,
        ];
      }
      draw();
    });
    const release = () => {
      if (!grip) return;
      grip = null;
      frame().dataset.box = box.join(" ");
      trigger("select", { box });
    };
    element.addEventListener("pointerup", release);
    element.addEventListener("pointercancel", release);
  },

  // A drawing that becomes another; value: {frames}, each the d of a path. "select" says {format} to be taken away.
  morph(element, props, trigger, watch) {
    const path = element.querySelector("path"), slider = element.querySelector("input");
    let moving = null;
    const show = () => {
      const frames = props.value?.frames ?? [""];
      path.setAttribute("d", frames[Math.round(Number(slider.value) * (frames.length - 1))]);
      element.querySelector(".note").textContent = props.value?.note ?? "";
      element.querySelector(".moves").hidden = frames.length < 2;
      element.querySelector(".blank").hidden = frames.length > 1;
    };
    const stop = () => {
      cancelAnimationFrame(moving);
      moving = null;
      element.querySelector(".loop").textContent = "▶ loop";
    };
    const loop = (time) => {
      slider.value = (1 - Math.cos((2 * Math.PI * time) / 5000)) / 2;
      show();
      moving = requestAnimationFrame(loop);
    };
    slider.addEventListener("input", () => { stop(); show(); });
    element.querySelector(".loop").onclick = (event) => {
      if (moving !== null) return stop();
      event.target.textContent = "❚❚ stop";
      moving = requestAnimationFrame(loop);
    };
    for (const button of element.querySelectorAll("[data-format]"))
      button.onclick = () => trigger("select", { format: button.dataset.format });
    watch("value", show);
    show();
  },

  // Hand a file {name, data}, data a base64 URI, to the person.
  save(file) {
    if (!file) return;
    const link = document.createElement("a");
    [link.href, link.download] = [file.data, file.name];
    link.click();
  },
};
