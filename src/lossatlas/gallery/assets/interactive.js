/* Surfaces to turn and embeddings to play, drawn by plotly from a figure's numbers when somebody asks for it. */
"use strict";

(() => {
  const LEAST = 1e-6, MOST = 1e6; // losses beyond are drawn as these, as in every figure
  const BEAT = 220; // milliseconds an epoch
  const loading = {};

  function load(source) {
    loading[source] ||= new Promise((done, failed) => {
      const script = document.createElement("script");
      script.src = source;
      script.onload = done;
      script.onerror = () => failed(new Error(`${source} is missing`));
      document.head.append(script);
    });
    return loading[source];
  }

  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const log = (loss) => (loss === null ? null : Math.log10(Math.min(Math.max(loss, LEAST), MOST)));
  const digits = (number) => (number === null ? "not recorded" : Number(number.toPrecision(3)).toString());

  function element(tag, properties, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  }

  function looks() {
    const axis = { gridcolor: css("line"), zerolinecolor: css("line"), linecolor: css("line"), color: css("soft") };
    return { axis, layout: { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: css("ink"), size: 12 }, modebar: { bgcolor: "rgba(0,0,0,0)", color: css("soft"), activecolor: css("ink") }, margin: { l: 8, r: 8, t: 8, b: 8 }, showlegend: false } };
  }

  function losses(low, high) { // ticks of a logarithmic axis that say losses, not their logarithms
    const ticks = { tickmode: "array", tickvals: [], ticktext: [] };
    const steps = high - low > 3 ? [1] : high - low > 1.2 ? [1, 3] : [1, 2, 5];
    for (let power = Math.floor(low); power <= high; power += 1) {
      for (const step of steps) {
        const at = power + Math.log10(step);
        if (at < low || at > high) continue;
        ticks.tickvals.push(at);
        ticks.ticktext.push(power < -2 || power > 3 ? `${step === 1 ? "" : `${step}·`}10<sup>${power}</sup>` : `${Number((10 ** at).toPrecision(1))}`);
      }
    }
    return ticks;
  }

  function minima(panel) { // the trained network, and the grid's lowest point where it is another
    const [x, y, loss] = panel.lowest;
    const lowest = { x, y, loss, name: "lowest point", text: `lowest point of the grid<br>loss ${digits(loss)}`, symbol: "diamond" };
    if (panel.trained === undefined) return [lowest];
    const said = `the trained network<br>loss ${digits(panel.trained)}, test error ${digits(panel.error)}%`;
    const trained = { x: 0, y: 0, loss: panel.trained, name: "trained network", text: said, symbol: "circle" };
    return x === 0 && y === 0 ? [{ ...trained, text: `${said}<br>lowest point of the grid` }] : [trained, lowest];
  }

  function surface(content, at) {
    const panel = content.panels[at];
    const [low, high] = content.range.map(log);
    const { axis, layout } = looks();
    const ticks = losses(low, high);
    const marks = minima(panel);
    const pins = { x: [], y: [], z: [], text: [] }; // a bowl hides its own floor: a pin stands out of it
    for (const mark of marks) {
      pins.x.push(mark.x, mark.x, null);
      pins.y.push(mark.y, mark.y, null);
      pins.z.push(log(mark.loss), high + 0.03 * (high - low), null);
      pins.text.push("", mark.name, "");
    }
    const narrow = innerWidth < 640;
    return {
      data: [
        {
          type: "surface", x: panel.x, y: panel.y, z: panel.loss.map((row) => row.map(log)), customdata: panel.loss,
          colorscale: "Viridis", cmin: low, cmax: high, showscale: !narrow,
          colorbar: { title: { text: "training loss", side: "right" }, thickness: 14, len: 0.7, ...ticks },
          contours: { z: { show: true, usecolormap: true, project: { z: true } } },
          hovertemplate: "(%{x:.3g}, %{y:.3g})<br>loss %{customdata:.4g}<extra></extra>",
        },
        {
          type: "scatter3d", mode: "markers", x: marks.map((m) => m.x), y: marks.map((m) => m.y), z: marks.map((m) => log(m.loss)),
          text: marks.map((m) => m.text), hovertemplate: "%{text}<extra></extra>",
          marker: { size: narrow ? 5 : 6, color: "#d81b60", symbol: marks.map((m) => m.symbol), line: { color: "#fff", width: 1 } },
        },
        {
          type: "scatter3d", mode: "lines+text", ...pins, textposition: "top center", textfont: { color: css("ink"), size: 12 }, hoverinfo: "skip",
          line: { color: "#d81b60", width: 4 },
        },
      ],
      layout: {
        ...layout,
        uirevision: "kept", // the view stays where it was turned to when another surface is chosen
        scene: {
          uirevision: "kept", aspectmode: "manual", aspectratio: { x: 1, y: 1, z: 0.65 },
          camera: { eye: narrow ? { x: 2.0, y: -2.25, z: 1.25 } : { x: 1.2, y: -1.35, z: 0.75 }, center: { x: 0, y: 0, z: -0.14 } },
          xaxis: { ...axis, title: { text: "first direction" } }, yaxis: { ...axis, title: { text: "second direction" } },
          zaxis: { ...axis, title: { text: "loss" }, range: [low, high + 0.2 * (high - low)], ...ticks },
        },
      },
    };
  }

  function upTo(path, time) { // how many of a path's points were recorded by then
    if (path.fixed) return path.epoch.length;
    let count = 0;
    while (count < path.epoch.length && (path.epoch[count] ?? 0) <= time) count += 1;
    return count;
  }

  function embedding(content, at, time) {
    const { paths } = content.panels[at];
    const heights = paths.filter((path) => !path.fixed).flatMap((path) => path.loss).filter((loss) => loss !== null).map(log);
    const scaled = heights.length > 0, low = Math.min(...heights), high = Math.max(...heights);
    const line = { x: [], y: [] }, dots = { x: [], y: [], text: [], color: [] }, heads = { x: [], y: [], text: [] }, fixed = { x: [], y: [], text: [] };
    for (const path of paths) {
      const count = upTo(path, time);
      for (let i = 0; i < count; i += 1) {
        const text = `${path.name}<br>epoch ${digits(path.epoch[i])}<br>training loss ${digits(path.loss[i])}`;
        const group = path.fixed ? fixed : dots;
        group.x.push(path.x[i]); group.y.push(path.y[i]); group.text.push(text);
        if (!path.fixed) {
          line.x.push(path.x[i]); line.y.push(path.y[i]);
          dots.color.push(scaled ? log(path.loss[i]) : path.epoch[i]);
          if (i === count - 1) { heads.x.push(path.x[i]); heads.y.push(path.y[i]); heads.text.push(text); }
        }
      }
      line.x.push(null); line.y.push(null);
    }
    const { axis, layout } = looks();
    const every = (name) => paths.flatMap((path) => path[name]).filter((value) => value !== null);
    const range = (name) => { // that of all times: the picture stands still while it plays
      const values = every(name), least = Math.min(...values), most = Math.max(...values), edge = 0.06 * (most - least || 1);
      return [least - edge, most + edge];
    };
    const plain = { ...axis, showticklabels: false, ticks: "", zeroline: false, showgrid: false, showline: true, mirror: true };
    const hover = "%{text}<extra></extra>";
    return {
      data: [
        { type: "scatter", mode: "lines", ...line, line: { color: css("soft"), width: 1 }, opacity: 0.6, hoverinfo: "skip" },
        {
          type: "scatter", mode: "markers", x: dots.x, y: dots.y, text: dots.text, hovertemplate: hover,
          marker: {
            size: 6, color: dots.color, colorscale: "Viridis", showscale: innerWidth >= 640, ...(scaled ? { cmin: low, cmax: high } : {}),
            colorbar: { title: { text: scaled ? "training loss" : "epoch", side: "right" }, thickness: 12, len: 0.8, ...(scaled ? losses(low, high) : {}) },
          },
        },
        { type: "scatter", mode: "markers", ...heads, hovertemplate: hover, marker: { size: 9, color: "rgba(0,0,0,0)", line: { color: css("ink"), width: 1.5 } } },
        { type: "scatter", mode: "markers", ...fixed, hovertemplate: hover, marker: { size: 15, symbol: "star", color: "#d81b60", line: { color: "#fff", width: 1 } } },
      ],
      layout: { ...layout, hovermode: "closest", uirevision: `panel ${at}`, xaxis: { ...plain, range: range("x") }, yaxis: { ...plain, range: range("y"), scaleanchor: "x" } },
    };
  }

  function build(pane, content) {
    const title = pane.dataset.title;
    const plot = element("div", { className: content.type === "surface" ? "plot" : "plot flat" });
    plot.setAttribute("role", "group");
    plot.setAttribute("aria-label", `${title}, interactive`);
    const controls = element("div", { className: "controls" });
    const state = { panel: content.first, time: Infinity, timer: 0 };
    const draw = () => {
      const { data, layout } = content.type === "surface" ? surface(content, state.panel) : embedding(content, state.panel, state.time);
      return Plotly.react(plot, data, layout, { displaylogo: false, responsive: true, displayModeBar: innerWidth >= 640, scrollZoom: false });
    };
    if (content.panels.length > 1) {
      const select = element("select", {}, ...content.panels.map((panel, i) => element("option", { value: i }, panel.title || `panel ${i + 1}`)));
      select.value = state.panel;
      select.addEventListener("change", () => { state.panel = Number(select.value); draw(); });
      controls.append(element("label", {}, content.type === "surface" ? "Surface " : "Panel ", select));
    }
    const epochs = content.epochs || [];
    if (epochs.length > 1) controls.append(...player(epochs, state, draw));
    const trained = content.panels.some((panel) => panel.trained !== undefined);
    const left = content.panels.some((panel) => (panel.paths || []).some((path) => path.fixed));
    const words = content.type === "surface"
      ? `Drag to turn, scroll to come closer. The pin${trained ? " is the trained network; a second one, with a diamond, the lowest point of the grid where that is another" : " marks the lowest point of the grid"}.`
      : `Hover or tap a point for its run, epoch and loss. Rings are where the runs are${left ? "; the star is the minimum they left" : ""}.`;
    pane.replaceChildren(controls, plot, element("p", { className: "note small" }, words));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    return draw();
  }

  function player(epochs, state, draw) {
    const last = epochs.length - 1;
    const slider = element("input", { type: "range", min: 0, max: last, step: 1, value: last });
    slider.setAttribute("aria-label", "Epoch");
    const said = element("output", {}, `epoch ${digits(epochs[last])}`);
    const play = element("button", { type: "button", className: "play" }, "Play");
    const show = (at) => {
      slider.value = at;
      state.time = epochs[at];
      said.value = `epoch ${digits(epochs[at])}`;
      slider.setAttribute("aria-valuetext", said.value);
      return draw();
    };
    const stop = () => { clearTimeout(state.timer); state.timer = 0; play.textContent = "Play"; };
    const beat = async () => {
      const at = Number(slider.value) + 1;
      await show(at);
      if (!state.timer) return;
      if (at >= last) stop(); else state.timer = setTimeout(beat, BEAT);
    };
    play.addEventListener("click", () => {
      if (state.timer) { stop(); return; }
      play.textContent = "Pause";
      if (Number(slider.value) >= last) show(0);
      state.timer = setTimeout(beat, BEAT);
    });
    slider.addEventListener("input", () => { stop(); show(Number(slider.value)); });
    return [play, slider, said];
  }

  async function open(pane) {
    const button = pane.querySelector(".start");
    button.disabled = true;
    button.textContent = "Loading…";
    try {
      await load(`${document.body.dataset.root}assets/plotly.min.js`);
      await load(pane.dataset.script);
      const figure = pane.closest("figure");
      const still = figure.querySelector(".still, .stage");
      if (still && figure.closest(".hero")) { still.hidden = true; figure.classList.add("wide"); }
      await build(pane, lossatlas.given[pane.dataset.pane]);
      const first = pane.querySelector("select, button, input");
      if (first) first.focus();
    } catch (error) {
      pane.replaceChildren(element("p", { className: "note" }, `This picture cannot be drawn here: ${error.message}.`));
    }
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-script] .start");
    if (button) open(button.closest(".pane"));
  });
})();
