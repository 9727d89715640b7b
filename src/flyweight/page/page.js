// The page as a whole: a picture comes in, every net of the page reads it, every section shows what it made of it.
"use strict";

/** @typedef {{kind: "drawing"} | {kind: "picture", pixels: ImageData} | {kind: "image", label: string, image: Uint8Array, of: Net}} Source */

/** Starts the page. */
function start() {
  const values = JSON.parse(byId("values").textContent);
  /** @type {Subject[]} */
  const subjects = values.nets.map((/** @type {any} */ about) => ({ about, net: readNet(about.file), off: new Set() }));
  const [first] = subjects;
  const answers = subjects.map((subject) => makeAnswer(subject, subjects.length > 1));
  const canDraw = first.net.input.channels === 1;
  /** @type {Source} */
  let source = { kind: "drawing" };
  /** @type {(Reading | null)[]} */
  let readings = subjects.map(() => null);
  let later = 0;

  describe(subjects, canDraw);
  const pad = makePad(
    byId("pad"),
    byId("cursor"),
    () => Number(byId("width").value),
    () => {
      source = { kind: "drawing" };
      update();
    },
  );
  const inside = makeInside(byId("layers"), subjects, () => update());
  byId("answers").append(
    element("div", { className: subjects.length > 1 ? "nets two" : "nets" }, ...answers.map((one) => one.card)),
  );
  showTries(byId("samples"), first, tryImage);
  showStory(byId("facts"), subjects, tryImage);
  showLessons(byId("lesson-list"));
  byId("undo").addEventListener("click", pad.undo);
  byId("clear").addEventListener("click", pad.clear);
  takePictures((pixels, shown) => {
    pad.show(shown);
    source = { kind: "picture", pixels };
    update();
  });
  update();

  /** @param {Uint8Array} image @param {Net} of @param {string} label */
  function tryImage(image, of, label) {
    const canvas = document.createElement("canvas");
    showImage(canvas, image, of.input.height, of.input.width, of.input.channels);
    pad.show(canvas);
    source = { kind: "image", label, image, of };
    update();
    byId("result").scrollIntoView({ block: "nearest" });
  }

  /** @param {Subject} subject @returns {Input | null} */
  function inputFor(subject) {
    const { height, width, channels } = subject.net.input;
    if (source.kind === "image") {
      const { height: h, width: w, channels: c } = source.of.input;
      if (h === height && w === width && c === channels)
        return { image: source.image, parts: 1, touchesEdge: false, notes: [] };
    }
    if (source.kind === "drawing" && pad.isEmpty()) return null;
    const pixels = source.kind === "picture" ? source.pixels : source.kind === "image" ? asRgba(source) : pad.pixels();
    if (!subject.about.is_handwriting)
      return {
        image: resizeOnly(pixels, height, width, channels, subject.about.reading),
        parts: 1,
        touchesEdge: false,
        notes: [],
      };
    const found = prepareDigit(pixels, height, width);
    return found.image && { ...found, image: repeated(found.image, channels) };
  }

  function update() {
    readings = subjects.map((subject) => {
      const input = inputFor(subject);
      return input && readInput(subject, input);
    });
    const said = answers.map((answer, i) => answer.show(readings[i]));
    byId("result").setAttribute("aria-busy", "true");
    clearTimeout(later);
    later = setTimeout(() => {
      byId("spoken").textContent = said.join(" ");
      answers.forEach((answer, i) => {
        const reading = readings[i];
        if (reading) answer.fillIn(reading);
      });
      inside.show(readings);
      byId("result").setAttribute("aria-busy", "false");
    }, 120);
  }
}

/** @param {{image: Uint8Array, of: Net}} source @returns {Rgba} */
function asRgba({ image, of }) {
  const { height, width, channels } = of.input;
  const data = new Uint8ClampedArray(4 * height * width).fill(255);
  for (let at = 0; at < height * width; at++)
    for (let c = 0; c < 3; c++) data[4 * at + c] = image[at * channels + (channels >= 3 ? c : 0)];
  return { width, height, data };
}

/** @param {Uint8Array} grey @param {number} channels */
function repeated(grey, channels) {
  if (channels === 1) return grey;
  return Uint8Array.from({ length: grey.length * channels }, (_, at) => grey[Math.floor(at / channels)]);
}

/** @param {Subject[]} subjects @param {boolean} canDraw */
function describe(subjects, canDraw) {
  const [{ about, net }] = subjects;
  const sizes = subjects.map((one) => grouped(one.about.story.params)).join(" and ");
  byId("lead").textContent =
    `A small neural net with ${sizes} numbers in it ${subjects.length > 1 ? "each " : ""}` +
    "reads what you draw. All of it is in this one file; nothing is sent anywhere.";
  byId("how").textContent = !canDraw
    ? "Open, paste or drop a picture, or choose one below. It is made as small as the net needs it."
    : about.is_handwriting
      ? `Draw one of ${net.classes.length <= 12 ? net.classes.join(", ") : `${net.classes.length} characters`}.`
      : "Draw here, or open a picture. It is made as small as the net needs it.";
  if (canDraw) return;
  for (const one of document.querySelectorAll(".drawing")) /** @type {HTMLElement} */ (one).hidden = true;
}

/** Pictures that are opened, taken, pasted or dropped. @param {(pixels: ImageData, shown: CanvasImageSource) => void} take */
function takePictures(take) {
  /** @param {Blob | null | undefined} file */
  const open = async (file) => {
    if (!file || !file.type.startsWith("image/")) return;
    try {
      const bitmap = await createImageBitmap(file);
      const scale = Math.min(1, 960 / Math.max(bitmap.width, bitmap.height));
      const canvas = document.createElement("canvas");
      canvas.width = Math.max(1, Math.round(bitmap.width * scale));
      canvas.height = Math.max(1, Math.round(bitmap.height * scale));
      const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
      pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
      take(pen.getImageData(0, 0, canvas.width, canvas.height), canvas);
    } catch {
      byId("spoken").textContent = "This file is no picture that the browser can read.";
      byId("how").textContent = "This file is no picture that the browser can read. Try another one.";
    }
  };
  for (const id of ["picture", "camera"])
    byId(id).addEventListener("change", () => {
      open(byId(id).files[0]);
      byId(id).value = "";
    });
  document.addEventListener("paste", (event) => open(event.clipboardData && event.clipboardData.files[0]));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    open(event.dataTransfer && event.dataTransfer.files[0]);
  });
}

/** Images as buttons. @param {HTMLElement} place @param {Subject} subject @param {(image: Uint8Array, of: Net, label: string) => void} use */
function showTries(place, subject, use) {
  const { about, net } = subject;
  if (!about.samples.length) {
    byId("tries").hidden = true;
    return;
  }
  place.className = "grid";
  for (const one of about.samples) place.append(tileOf(net, one.pixels, String(net.classes[one.label]), use));
}

/** @param {Net} net @param {string} pixels @param {string} label @param {(image: Uint8Array, of: Net, label: string) => void} use */
function tileOf(net, pixels, label, use) {
  const { height, width, channels } = net.input;
  const image = unpacked(pixels, height * width * channels);
  const canvas = element("canvas", { "aria-hidden": "true" });
  showImage(canvas, image, height, width, channels);
  const button = element("button", { type: "button", className: "tile" }, canvas, label);
  button.addEventListener("click", () => use(image, net, label));
  return button;
}
