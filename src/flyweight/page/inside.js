// The layers in order: their maps for the picture, and for one number of a map where it comes from.
"use strict";

/** @typedef {{value: number, channel: number, row: number, column: number}} Place one number of a map */

/**
 * The section of the layers. @param {HTMLElement} root @param {Subject[]} subjects
 * @param {() => void} changed a channel was switched on or off
 */
function makeInside(root, subjects, changed) {
  /** @type {(Reading | null)[]} */
  let readings = subjects.map(() => null);
  const views = subjects.map((subject) => makeLayers(subject, changed));
  let chosen = 0;
  const list = element("div");
  if (subjects.length > 1) {
    const buttons = subjects.map((subject, i) =>
      element("button", { type: "button", "aria-pressed": String(i === 0) }, subject.about.name),
    );
    buttons.forEach((button, i) =>
      button.addEventListener("click", () => {
        chosen = i;
        buttons.forEach((one, j) => one.setAttribute("aria-pressed", String(i === j)));
        list.replaceChildren(views[i].root);
        views[i].show(readings[i]);
      }),
    );
    root.append(element("div", { className: "tools" }, ...buttons));
  }
  list.append(views[0].root);
  root.append(list);
  return {
    /** @param {(Reading | null)[]} next */
    show(next) {
      readings = next;
      views[chosen].show(readings[chosen]);
    },
  };
}

/** @param {Subject} subject @param {() => void} changed */
function makeLayers(subject, changed) {
  const { net, about } = subject;
  const note = element(
    "p",
    { className: "note" },
    "Each small picture is one channel: bright where the layer found what it looks for. Point at or tap a pixel to see " +
      "which part of your picture it saw and how its number was made.",
  );
  const state = element("p", { className: "warning", hidden: true });
  const allOn = element("button", { type: "button", hidden: true }, "Switch everything on again");
  const detail = makeDetail(subject);
  const root = element("div", {}, note, state, allOn);
  /** @type {Reading | null} */
  let reading = null;
  const steps = net.operations.map((one, index) => makeStep(index));
  root.append(...steps.map((step) => step.root));
  allOn.addEventListener("click", () => {
    subject.off.clear();
    switched();
  });

  function switched() {
    steps.forEach((step) => step.mark());
    const n = subject.off.size;
    state.hidden = allOn.hidden = !n;
    state.textContent = `${n} ${n === 1 ? "channel is" : "channels are"} switched off, so the answer above is another.`;
    changed();
  }

  /** @param {number} index of the operation */
  function makeStep(index) {
    const one = net.operations[index];
    const value = index + 1;
    const [height, width, channels] = one.out_shape;
    const tiling = tilingOf(height, width, channels);
    const label = `${channels} ${channels === 1 ? "channel" : "channels"} of ${height} x ${width}`;
    const canvas = element("canvas", {
      className: "maps",
      role: "img",
      "aria-label": `Step ${value}: ${label}`,
    });
    const fields = ["channel", "row", "column"].map((name, i) =>
      element("input", { type: "number", min: "1", max: String([channels, height, width][i]), value: "1", name }),
    );
    const showButton = element("button", { type: "button" }, "Show this number");
    const place = element("div");
    /** @param {Place} found */
    const open = (found) => {
      place.append(detail.root);
      detail.show(found, reading);
    };
    /** @param {MouseEvent} event */
    const point = (event) => {
      const found = tileAt(canvas, tiling, event);
      if (found && reading) open({ value, ...found });
    };
    canvas.addEventListener("pointermove", point);
    canvas.addEventListener("click", point);
    showButton.addEventListener("click", () => {
      const [channel, row, column] = fields.map((field) =>
        Math.min(Number(field.max), Math.max(1, Math.trunc(Number(field.value)) || 1)),
      );
      if (reading) open({ value, channel: channel - 1, row: row - 1, column: column - 1 });
    });
    const switches = Array.from({ length: channels }, (_, channel) => {
      const button = element("button", { type: "button", "aria-pressed": "false" }, String(channel + 1));
      button.setAttribute("aria-label", `Switch off channel ${channel + 1} of step ${value}`);
      button.addEventListener("click", () => {
        const key = `${value}:${channel}`;
        if (!subject.off.delete(key)) subject.off.add(key);
        switched();
      });
      return button;
    });
    const isLast = index === net.operations.length - 1;
    const body = element(
      "div",
      { className: "layer" },
      element("h3", {}, `Step ${value}: ${one.layers.join(", ")}`),
      layerTable(about, one),
      element("p", { className: "note" }, isLast ? `${label}: one number for each class.` : label),
      canvas,
      place,
      element(
        "details",
        {},
        element("summary", {}, "Choose a number by its place"),
        element(
          "div",
          { className: "fields" },
          ...fields.map((field) => element("label", {}, `${field.name} `, field)),
          showButton,
        ),
      ),
      ...(index === 0 && one.kind === "conv" ? [filtersOf(one)] : []),
      ...(isLast
        ? []
        : [
            element(
              "details",
              {},
              element("summary", {}, "Break it: switch channels off"),
              element("div", { className: "grid" }, ...switches),
            ),
          ]),
    );
    return {
      root: body,
      mark: () =>
        switches.forEach((button, channel) =>
          button.setAttribute("aria-pressed", String(subject.off.has(`${value}:${channel}`))),
        ),
      show: () => {
        const map = reading ? reading.maps[value] : null;
        let [low, high] = [0, 1];
        if (map) {
          low = Math.min(zeroOf(net, value), ...mapRange(map));
          high = Math.max(...mapRange(map));
        }
        showTiles(canvas, tiling, (channel, row, column) => {
          const number = map ? map[(row * width + column) * channels + channel] : 0;
          const shade = Math.round((255 * (number - low)) / Math.max(1, high - low));
          return map ? [shade, shade, shade] : [0, 0, 0];
        });
      },
    };
  }

  return {
    root,
    /** @param {Reading | null} next */
    show(next) {
      reading = next;
      steps.forEach((step) => step.show());
      detail.refresh(reading);
    },
  };
}

/** The smallest and the largest value. @param {Values} map */
function mapRange(map) {
  let low = Infinity;
  let high = -Infinity;
  for (let at = 0; at < map.length; at++) {
    if (map[at] < low) low = map[at];
    if (map[at] > high) high = map[at];
  }
  return [low, high];
}

/** The rows of the table of layers that one operation does. @param {any} about @param {Operation} one */
function layerTable(about, one) {
  const total = about.story.params || 1;
  const rows = about.layers.filter((/** @type {any} */ row) => one.layers.includes(row.name));
  if (!rows.length) return element("p", { className: "note" }, "The pixels are scaled.");
  return tableOf(`Layers of this step: ${one.layers.join(", ")}`, [
    ["layer", "written", "output", "numbers learned", "share of all", "sees"],
    ...rows.map((/** @type {any} */ row) => [
      row.name,
      row.layer,
      row.out_shape.join("x"),
      grouped(row.params),
      percent(row.params / total),
      row.receptive_field
        ? `${row.receptive_field.map((/** @type {number} */ side) => Math.round(side)).join("x")} px`
        : "",
    ]),
  ]);
}

/** The weights of the first layer as pictures. @param {Operation} one */
function filtersOf(one) {
  const few = one.in_shape[2] / one.groups;
  const [height, width] = one.kernel;
  const outputs = one.out_shape[2];
  const canvas = element("canvas", { className: "maps", role: "img", "aria-label": `The ${outputs} filters` });
  const size = height * width * few;
  showTiles(canvas, tilingOf(height, width, outputs), (channel, row, column) => {
    let sum = 0;
    for (let c = 0; c < few; c++) sum += one.weights[channel * size + (row * width + column) * few + c];
    return twoSided(sum / few / 127);
  });
  return element(
    "details",
    {},
    element("summary", {}, "The filters of this step"),
    element("p", { className: "note" }, "Orange weights count brightness for the filter, blue ones count it against."),
    canvas,
  );
}

/** One number of a map: what it saw, and the sum that made it. @param {Subject} subject */
function makeDetail(subject) {
  const { net } = subject;
  const field = element("canvas", { role: "img", "aria-label": "The part of the picture that this number depends on" });
  const title = element("h3");
  const sum = element("p", { className: "sum" });
  const channelChoice = element("select");
  const choice = element("label", { hidden: true }, "Weights times values of input channel ", channelChoice);
  const numbers = element("div", { className: "numbers" });
  const root = element(
    "div",
    {},
    title,
    element(
      "div",
      { className: "pictures" },
      element("figure", {}, field, element("figcaption", {}, "It sees only what is in the frame")),
    ),
    sum,
    choice,
    numbers,
  );
  /** @type {Place | null} */
  let place = null;
  /** @type {Reading | null} */
  let reading = null;
  channelChoice.addEventListener("change", () => showNumbers());

  function showNumbers() {
    if (!place || !reading) return;
    const one = net.operations[place.value - 1];
    const found = arithmeticOf(one, reading.maps[one.inputs[0]], place.row, place.column, place.channel);
    const few = one.in_shape[2] / one.groups;
    const input = Number(channelChoice.value);
    const [height, width] = one.kernel;
    const rows = Array.from({ length: height }, (_, row) =>
      element(
        "tr",
        {},
        ...Array.from({ length: width }, (_, column) => {
          const at = (row * width + column) * few + input;
          return element("td", {}, `${found.weights[at]} × ${found.window[at]}`);
        }),
      ),
    );
    const label = "Weight times value under the filter";
    numbers.replaceChildren(
      element(
        "div",
        { className: "scroll", tabIndex: 0, role: "group", "aria-label": label },
        element("table", {}, ...rows),
      ),
    );
  }

  function refresh() {
    if (!place || !reading) return;
    const one = net.operations[place.value - 1];
    const [, width, channels] = one.out_shape;
    const number = reading.maps[place.value][(place.row * width + place.column) * channels + place.channel];
    title.textContent =
      `${one.layers[0]}, channel ${place.channel + 1}, row ${place.row + 1}, column ${place.column + 1}: ` +
      `the number ${number}`;
    showField(field, net, reading.input.image, receptiveField(net, place.value, place.row, place.column));
    sum.textContent = explained(net, reading.maps, place, number);
    choice.hidden = one.kind !== "conv";
    numbers.replaceChildren();
    if (one.kind !== "conv") return;
    const few = one.in_shape[2] / one.groups;
    if (channelChoice.options.length !== few || channelChoice.dataset.of !== String(place.value)) {
      channelChoice.replaceChildren(
        ...Array.from({ length: few }, (_, c) => element("option", { value: String(c) }, String(c + 1))),
      );
      channelChoice.dataset.of = String(place.value);
    }
    showNumbers();
  }

  return {
    root,
    /** @param {Place} next @param {Reading | null} of */
    show(next, of) {
      place = next;
      reading = of;
      refresh();
    },
    /** @param {Reading | null} of */
    refresh(of) {
      reading = of;
      refresh();
    },
  };
}

/** @param {HTMLCanvasElement} canvas @param {Net} net @param {Uint8Array} image @param {Area} area */
function showField(canvas, net, image, area) {
  const { height, width, channels } = net.input;
  const scale = Math.max(1, Math.floor(140 / Math.max(height, width)));
  const small = document.createElement("canvas");
  showImage(small, image, height, width, channels);
  canvas.width = width * scale;
  canvas.height = height * scale;
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  pen.imageSmoothingEnabled = false;
  pen.drawImage(small, 0, 0, canvas.width, canvas.height);
  pen.strokeStyle = "#ffb000";
  pen.lineWidth = 2;
  pen.strokeRect(
    area.left * scale + 1,
    area.top * scale + 1,
    (area.right - area.left) * scale - 2,
    (area.bottom - area.top) * scale - 2,
  );
}

/** The arithmetic of one number in words. @param {Net} net @param {Values[]} maps @param {Place} place @param {number} number */
function explained(net, maps, place, number) {
  const one = net.operations[place.value - 1];
  const inputs = one.inputs.map((input) => maps[input]);
  const zero = zeroOf(net, place.value);
  const meaning = one.scores
    ? ` As a score: ${(number * net.score_scale).toFixed(2)}.`
    : ` It stands for ${((number - zero) * one.scale).toFixed(3)}.`;
  const [, width, channels] = one.out_shape;
  const at = (place.row * width + place.column) * channels + place.channel;
  if (one.kind === "conv") {
    const found = arithmeticOf(one, inputs[0], place.row, place.column, place.channel);
    const pooled = found.tried > 1 ? ` (the largest of ${found.tried}: that is the max pool)` : "";
    const looked = one.table
      ? ", then looked up in the table of the activation"
      : one.scores
        ? ""
        : ", cut to 0 to 255";
    const zeroed = one.scores || !one.zero ? "" : `, plus ${one.zero}, which stands for zero`;
    const n = grouped(found.weights.length);
    return (
      `${n} weights times ${n} values make ${grouped(found.products)}; with ${grouped(found.bias)} added, ` +
      `${grouped(found.sum)}${pooled}. Times ${found.multiplier} / 2^${found.shift}, rounded${zeroed}${looked}: ` +
      `${number}.${meaning}`
    );
  }
  if (one.kind === "add")
    return `${inputs[0][at]} and ${inputs[1][at]}, each times its own scale, added: ${number}.${meaning}`;
  if (one.kind === "table") return `The table of the activation has ${number} for ${inputs[0][at]}.${meaning}`;
  if (one.kind === "slopes") return `${inputs[0][at]} times the slope of its channel: ${number}.${meaning}`;
  const [top, bottom] = one.rows[place.row];
  const [left, right] = one.columns[place.column];
  const what = one.kind === "max" ? "The largest" : "The mean";
  return `${what} of ${(bottom - top) * (right - left)} values of its channel: ${number}.${meaning}`;
}
