"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);

  // ---- the data -------------------------------------------------------------------------------
  const unpacked = (text, Kind) => {
    const raw = atob(text);
    const bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
    return new Kind(bytes.buffer);
  };
  const labels = unpacked(data.labels, Int32Array);
  const parts = unpacked(data.parts, Int32Array);
  const groups = data.groups && unpacked(data.groups, Int32Array);
  const spaces = data.spaces.map((space) => ({
    ...space,
    maps: space.maps.map((map) => ({ ...map, places: unpacked(map.places, Float32Array) })),
    nearest: unpacked(space.nearest, Int32Array),
    distances: unpacked(space.distances, Float32Array),
    fromClass: unpacked(space.fromClass, Float32Array),
  }));
  const count = labels.length;
  const every = Array.from({ length: count }, (_, i) => i);
  const ofClass = data.classes.map(() => []);
  every.forEach((i) => ofClass[labels[i]].push(i));
  // The end of a name says more than the folders before it, if no other class ends so.
  const ends = data.classes.map((name) => name.split("/").pop());
  const firstEnding = new Map(ends.map((end, c) => [end, c]).reverse());
  const lastEnding = new Map(ends.map((end, c) => [end, c]));
  const short = (c) => (firstEnding.get(ends[c]) === lastEnding.get(ends[c]) ? ends[c] : data.classes[c]);
  const present = ofClass.flatMap((images, c) => (images.length ? [c] : []));

  const state = { space: 0, map: 0, colour: "class", image: null, selected: [], lasso: false };
  const space = () => spaces[state.space];
  const map = () => space().maps[Math.min(state.map, space().maps.length - 1)];
  const first = (of, i) => of.nearest[i * of.near];
  // An image that is alone in its class can't be found.
  const asks = (i) => ofClass[labels[i]].length > 1;
  const right = (of, i) => labels[first(of, i)] === labels[i];

  // ---- elements -------------------------------------------------------------------------------
  const element = (name, text, kind) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  };
  const entry = (list, label, number, act) => {
    const item = element("li");
    const button = element("button");
    button.append(element("span", label, "label"), element("span", number, "number"));
    button.addEventListener("click", act);
    item.append(button);
    list.append(item);
    return button;
  };
  const fill = (select, names) => {
    select.replaceChildren(...names.map((name, i) => {
      const option = element("option", name);
      option.value = String(i);
      return option;
    }));
  };
  const tell = (text) => { byId("told").textContent = text; };

  // ---- thumbnails -----------------------------------------------------------------------------
  const tiles = data.thumbnails;
  const sheets = tiles ? tiles.sheets.map((address) => {
    const image = new Image();
    image.src = address;
    return image;
  }) : [];
  const ready = Promise.all(sheets.map((sheet) => sheet.decode()));
  const paint = (context, i, x, y, side) => {
    if (!tiles) return;
    const { across } = tiles;
    const sheet = Math.floor(i / (across * across));
    const place = i % (across * across);
    const left = (place % across) * tiles.side;
    const top = Math.floor(place / across) * tiles.side;
    context.drawImage(sheets[sheet], left, top, tiles.side, tiles.side, x, y, side, side);
  };
  const tile = (i, side) => {
    const canvas = element("canvas");
    canvas.width = canvas.height = side;
    ready.then(() => paint(canvas.getContext("2d"), i, 0, 0, side));
    return canvas;
  };

  // ---- colours --------------------------------------------------------------------------------
  const hue = (n, of) => {
    // Neighbours in number are far apart in hue, and in lightness.
    const angle = of <= 12 ? n / of : (n * 0.61803398875) % 1;
    return hex(angle, 0.62, [0.47, 0.6, 0.38][of <= 12 ? 0 : n % 3]);
  };
  const hex = (h, s, l) => {
    const a = s * Math.min(l, 1 - l);
    const part = (n) => {
      const k = (n + h * 12) % 12;
      const value = l - a * Math.max(-1, Math.min(k - 3, 9 - k, 1));
      return Math.round(255 * value).toString(16).padStart(2, "0");
    };
    return `#${part(0)}${part(8)}${part(4)}`;
  };
  const RAMP = ["#2c7fb8", "#41b6c4", "#a1dab4", "#fecc5c", "#fd8d3c", "#e31a1c"];
  const bins = (values) => {
    const ordered = Array.from(values).filter((v) => v === v).sort((a, b) => a - b);
    const bounds = RAMP.slice(1).map((_, k) => ordered[Math.floor(((k + 1) / RAMP.length) * ordered.length)]);
    return Array.from(values, (v) => (v === v ? bounds.filter((b) => v >= b).length : 0));
  };
  const colourings = {
    class: () => ({ values: Array.from(labels), names: data.classes }),
    group: () => ({ values: Array.from(groups), names: data.groupNames }),
    part: () => ({ values: Array.from(parts), names: data.partNames }),
    "nearest is right": () => ({
      values: every.map((i) => (asks(i) ? (right(space(), i) ? 0 : 1) : 2)),
      names: ["right", "wrong", "alone in its class"],
      colours: ["#3f9a6b", "#d63b3b", "#9aa4af"],
    }),
    "distance from its class": () => ({
      values: bins(space().fromClass),
      names: ["nearest sixth", "", "", "", "", "farthest sixth"],
      colours: RAMP,
    }),
  };
  const usable = Object.keys(colourings).filter((name) =>
    (name !== "group" || groups) && (name !== "part" || new Set(parts).size > 1));
  const legend = (names, colours, values) => {
    const used = [...new Set(values)].sort((a, b) => a - b).filter((v) => names[v]);
    const shown = used.length > 12 ? [] : used;
    byId("legend").replaceChildren(...shown.flatMap((v) => {
      const dot = element("i");
      dot.style.background = colours[v];
      return [dot, document.createTextNode(names[v])];
    }));
    byId("legend").hidden = !shown.length;
  };

  // ---- the map --------------------------------------------------------------------------------
  const stage = byId("stage");
  const ACTIVE = "#ff9500";
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const ground = () => (dark.matches ? "#1c2026" : "#ffffff");
  const room = () => ({ width: stage.clientWidth, height: stage.clientHeight });
  const plot = Scatterplot.default({
    canvas: byId("points"),
    ...room(),
    backgroundColor: ground(),
    pointSize: count > 5000 ? 3 : count > 500 ? 5 : 8,
    pointSizeSelected: 3,
    pointOutlineWidth: 2,
    opacity: 0.9,
    lassoInitiator: false,
    pointColorActive: ACTIVE,
    pointColorHover: ACTIVE,
    colorBy: "valueA",
  });
  // One after the other: the library drops a drawing that another overtakes.
  let drawing = Promise.resolve();
  const draw = (transition) => {
    drawing = drawing.then(() => drawAll(transition));
    return drawing;
  };
  let colourOf = []; // of each image, as it is drawn
  const drawAll = async (transition) => {
    const { values, names, colours } = colourings[state.colour]();
    const of = colours || names.map((_, n) => hue(n, names.length));
    colourOf = values.map((value) => of[value]);
    const { places } = map();
    plot.set({ pointColor: of.length > 1 ? of : [of[0], of[0]] });
    legend(names, of, values);
    const x = new Float32Array(count);
    const y = new Float32Array(count);
    for (let i = 0; i < count; i++) [x[i], y[i]] = [0.95 * places[2 * i], 0.95 * places[2 * i + 1]];
    drawn = false;
    await plot.draw({ x, y, z: values }, { transition, zDataType: "categorical", select: state.selected });
    drawn = true;
    drawNear();
  };

  // The library's own start cuts off what lies beyond the longer side of a narrow window.
  const home = (transition) =>
    plot.zoomToPoints(every, { padding: 0.05, transition, transitionDuration: 300 });

  // From near, points are images.
  const near = byId("near");
  let drawn = false;
  const MOST_NEAR = 200;
  const drawNear = () => {
    const { width, height } = room();
    const scale = window.devicePixelRatio || 1;
    near.width = width * scale;
    near.height = height * scale;
    if (!tiles || !drawn) return;
    const inView = plot.get("pointsInView");
    if (inView.length > MOST_NEAR || (inView.length === count && count > 60)) return;
    const context = near.getContext("2d");
    context.scale(scale, scale);
    const side = Math.max(24, Math.min(tiles.side, Math.sqrt((width * height) / Math.max(inView.length, 1)) / 2.5));
    const selected = new Set(state.selected);
    for (const i of inView) {
      const at = plot.getScreenPosition(i);
      if (!at) continue;
      const [x, y] = [at[0] - side / 2, at[1] - side / 2];
      paint(context, i, x, y, side);
      const chosen = selected.has(i);
      context.lineWidth = chosen ? 5 : 2;
      context.strokeStyle = chosen ? ACTIVE : colourOf[i];
      context.strokeRect(x, y, side, side);
    }
  };
  let waiting = 0;
  plot.subscribe("view", () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(drawNear);
  });

  // ---- what the pointer is over ---------------------------------------------------------------
  const tip = byId("tip");
  plot.subscribe("pointOver", (i) => {
    const at = plot.getScreenPosition(i);
    const { width, height } = room();
    tip.replaceChildren(...(tiles ? [tile(i, Math.min(128, tiles.side))] : []), element("div", data.classes[labels[i]]));
    tip.hidden = false;
    tip.style.left = `${Math.min(at[0] + 12, width - tip.offsetWidth - 4)}px`;
    tip.style.top = `${Math.min(at[1] + 12, height - tip.offsetHeight - 4)}px`;
  });
  plot.subscribe("pointOut", () => { tip.hidden = true; });

  // ---- one image ------------------------------------------------------------------------------
  const show = (i) => {
    state.image = i;
    byId("shown").hidden = false;
    byId("hint").hidden = true;
    const large = byId("large");
    large.hidden = !tiles;
    if (tiles) {
      large.width = large.height = tiles.side;
      large.setAttribute("aria-label", data.names[i]);
      ready.then(() => paint(large.getContext("2d"), i, 0, 0, tiles.side));
    }
    byId("name").replaceChildren(
      element("strong", data.classes[labels[i]]), element("br"),
      element("span", data.names[i], "faint"),
    );
    byId("neighbours").replaceChildren(...spaces.flatMap((of) => {
      const row = element("div", undefined, "row");
      for (let k = 0; k < of.near; k++) {
        const j = of.nearest[i * of.near + k];
        const good = labels[j] === labels[i];
        const button = element("button", undefined, good ? "right" : "wrong");
        const distance = of.distances[i * of.near + k].toFixed(3);
        button.title = `${data.classes[labels[j]]}: ${data.names[j]}`;
        button.append(...(tiles ? [tile(j, Math.min(96, tiles.side))] : []),
          element("span", `${good ? "✓" : "✗"} ${distance}`), element("span", short(labels[j])));
        button.addEventListener("click", () => choose([j], true));
        row.append(button);
      }
      return [element("h2", `Nearest, ${of.name}`), row];
    }));
    byId("details").scrollTop = 0;
    const found = spaces.map((of) => `${of.name}: nearest is ${data.classes[labels[first(of, i)]]}`);
    tell(`${data.names[i]}, class ${data.classes[labels[i]]}. ${found.join(". ")}.`);
  };

  // ---- what is selected -----------------------------------------------------------------------
  const choose = (images, zoom) => {
    state.selected = images;
    byId("save").disabled = !images.length;
    byId("save").textContent = images.length ? `Save ${images.length.toLocaleString()} as CSV` : "Save selection";
    if (images.length) plot.select(images, { preventEvent: true });
    else plot.deselect({ preventEvent: true });
    if (images.length === 1) show(images[0]);
    if (images.length > 1) tell(`${images.length} images are selected.`);
    const whole = new Set(images.map((i) => labels[i]));
    for (const [c, button] of classButtons) {
      button.setAttribute("aria-current", String(images.length > 1 && whole.size === 1 && whole.has(c)));
    }
    if (zoom && images.length) {
      const wide = images.length === 1 ? around(images[0]) : images;
      plot.zoomToPoints(wide, { padding: 0.3, transition: true, transitionDuration: 400 });
    }
    drawNear();
  };
  const around = (i) => [i, ...Array.from({ length: space().near }, (_, k) => space().nearest[i * space().near + k])];
  plot.subscribe("select", ({ points }) => choose(Array.from(points), false));
  plot.subscribe("deselect", () => choose([], false));

  const cell = (text) => {
    // A spreadsheet would run a name that begins like a formula.
    const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
    return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  byId("save").addEventListener("click", () => {
    const lines = state.selected.map((i) => `${cell(data.names[i])},${cell(data.classes[labels[i]])}`);
    const file = new Blob([`path,label\n${lines.join("\n")}\n`], { type: "text/csv" });
    const link = element("a");
    link.href = URL.createObjectURL(file);
    link.download = "selection.csv";
    link.click();
    URL.revokeObjectURL(link.href);
  });

  // ---- lists ----------------------------------------------------------------------------------
  let classButtons = [];
  const lists = () => {
    const of = space();
    const found = present.map((c) => {
      const asking = ofClass[c].filter(asks);
      const rights = asking.filter((i) => right(of, i)).length;
      return { c, images: ofClass[c].length, rate: asking.length ? rights / asking.length : NaN };
    });
    const order = (row) => (row.rate === row.rate ? row.rate : 2);
    found.sort((a, b) => order(a) - order(b) || b.images - a.images);
    byId("class-list").replaceChildren();
    classButtons = found.map(({ c, images, rate }) => [c, entry(
      byId("class-list"), short(c),
      `${rate === rate ? `${Math.round(100 * rate)} %` : "–"} of ${images}`,
      () => choose(ofClass[c], true),
    )]);

    const pairs = new Map();
    for (const i of every) {
      if (!asks(i) || right(of, i)) continue;
      const key = `${labels[i]} ${labels[first(of, i)]}`;
      if (!pairs.has(key)) pairs.set(key, []);
      pairs.get(key).push(i);
    }
    const confused = [...pairs.values()].sort((a, b) => b.length - a.length).slice(0, 40);
    byId("confused").replaceChildren();
    for (const images of confused) {
      const [a, b] = [labels[images[0]], labels[first(of, images[0])]];
      entry(byId("confused"), `${short(a)} → ${short(b)}`,
        `${images.length} of ${ofClass[a].length}`,
        () => choose([...new Set([...images, ...images.map((i) => first(of, i))])], true));
    }
    if (!confused.length) byId("confused").append(element("li", "None."));

    const far = every.filter((i) => of.fromClass[i] === of.fromClass[i])
      .sort((a, b) => of.fromClass[b] - of.fromClass[a]).slice(0, 40);
    byId("far").replaceChildren();
    for (const i of far) {
      const button = entry(byId("far"), data.classes[labels[i]], of.fromClass[i].toFixed(3), () => choose([i], true));
      if (tiles) button.prepend(tile(i, 32));
    }
  };

  // ---- controls -------------------------------------------------------------------------------
  fill(byId("space"), spaces.map((each) => each.name));
  fill(byId("map"), space().maps.map((each) => each.name));
  fill(byId("colour"), usable);
  byId("space").parentElement.hidden = spaces.length < 2;
  byId("map").parentElement.hidden = space().maps.length < 2;
  byId("space").addEventListener("change", (event) => {
    state.space = Number(event.target.value);
    lists();
    draw(true);
  });
  byId("map").addEventListener("change", (event) => { state.map = Number(event.target.value); draw(true); });
  byId("colour").addEventListener("change", (event) => { state.colour = usable[Number(event.target.value)]; draw(false); });
  const toggle = () => {
    state.lasso = !state.lasso;
    byId("lasso").setAttribute("aria-pressed", String(state.lasso));
    plot.set({ mouseMode: state.lasso ? "lasso" : "panZoom" });
  };
  byId("lasso").addEventListener("click", toggle);
  byId("home").addEventListener("click", () => home(true));
  byId("search").addEventListener("input", (event) => {
    const asked = event.target.value.trim().toLowerCase();
    if (!asked) return choose([], false);
    const found = every.filter((i) => data.names[i].toLowerCase().includes(asked)
      || data.classes[labels[i]].toLowerCase().includes(asked));
    choose(found, found.length < count);
    tell(`${found.length} images are found.`);
    return undefined;
  });
  // The nearest image in the direction of an arrow key.
  const step = (dx, dy) => {
    const { places } = map();
    const from = state.image ?? 0;
    let best = null;
    let least = Infinity;
    for (let j = 0; j < count; j++) {
      const [x, y] = [places[2 * j] - places[2 * from], places[2 * j + 1] - places[2 * from + 1]];
      const along = x * dx + y * dy;
      const across = Math.abs(x * dy) + Math.abs(y * dx);
      if (j !== from && along > 0 && along >= across && along + across < least) [best, least] = [j, along + across];
    }
    if (best !== null) choose([best], false);
  };
  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  document.addEventListener("keydown", (event) => {
    if (event.target.matches("input, select") || event.ctrlKey || event.metaKey || event.altKey) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (event.key === "/") { event.preventDefault(); byId("search").focus(); }
    if (event.key === "l" || event.key === "L") toggle();
    if (event.key === "0") home(true);
    if (event.key === "Escape") choose([], false);
    if (event.target !== byId("points")) return;
    if (ARROWS[event.key]) { event.preventDefault(); step(...ARROWS[event.key]); }
    if (event.key === "Enter" && state.image !== null) choose([state.image], true);
  });
  new ResizeObserver(() => { plot.set(room()); drawNear(); }).observe(stage);
  dark.addEventListener("change", () => plot.set({ backgroundColor: ground() }));

  lists();
  ready.then(() => draw(false)).then(() => home(false)).then(() => { document.body.dataset.ready = "yes"; });
})();
