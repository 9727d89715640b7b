// The drawing area: pointer and keys become strokes, strokes become pixels. What is read in them is not known here.
"use strict";

/** @typedef {{x: number, y: number, width: number}} Point all as shares of the side of the pad */
/** @typedef {Point[]} Stroke */

const ANALYSIS_SIDE = 168; // of the picture that the net's input is made from
const KEY_STEP = 1 / 24;

/**
 * A pad on a canvas. It calls `onChange` at most once a frame while something changes.
 * @param {HTMLCanvasElement} canvas
 * @param {HTMLElement} cursor shows where the keys draw
 * @param {() => number} penWidth in per cent of the side
 * @param {() => void} onChange
 */
function makePad(canvas, cursor, penWidth, onChange) {
  /** @type {Stroke[]} */
  let strokes = [];
  /** @type {CanvasImageSource | null} */
  let picture = null;
  /** @type {{id: number, stroke: Stroke} | null} */
  let active = null;
  let isWaiting = false;
  const place = { x: 0.5, y: 0.5, isDown: false };
  const small = document.createElement("canvas");
  small.width = small.height = ANALYSIS_SIDE;
  const pens = [canvas, small].map(
    (one) => /** @type {CanvasRenderingContext2D} */ (one.getContext("2d", { willReadFrequently: one === small })),
  );
  redraw();

  function changed() {
    if (isWaiting) return;
    isWaiting = true;
    requestAnimationFrame(() => {
      isWaiting = false;
      onChange();
    });
  }

  function redraw() {
    for (const pen of pens) {
      pen.fillStyle = "#000";
      pen.fillRect(0, 0, pen.canvas.width, pen.canvas.height);
    }
    if (picture) drawPicture(pens[0], picture);
    strokes.forEach((stroke) => stroke.forEach((_, i) => drawSegment(stroke, i)));
  }

  /** @param {Stroke} stroke @param {number} end */
  function drawSegment(stroke, end) {
    const [from, to] = [stroke[Math.max(0, end - 1)], stroke[end]];
    for (const pen of pens) {
      const side = pen.canvas.width;
      pen.strokeStyle = "#fff";
      pen.lineCap = pen.lineJoin = "round";
      pen.lineWidth = ((from.width + to.width) / 2) * side;
      pen.beginPath();
      pen.moveTo(from.x * side, from.y * side);
      pen.lineTo(to.x * side + (end ? 0 : 0.01), to.y * side);
      pen.stroke();
    }
  }

  /** @param {Stroke} stroke @param {number} x @param {number} y @param {number} pressure of a pen, 0.5 is usual */
  function extend(stroke, x, y, pressure) {
    stroke.push({ x, y, width: (penWidth() / 100) * (0.4 + 1.2 * pressure) });
    drawSegment(stroke, stroke.length - 1);
  }

  /** @param {PointerEvent} event */
  function follow(event) {
    if (!active || event.pointerId !== active.id) return;
    const box = canvas.getBoundingClientRect();
    // A browser may report several places of a fast stroke at once.
    const passed = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
    for (const one of passed.length ? passed : [event]) {
      const pressure = one.pointerType === "pen" ? one.pressure : 0.5;
      extend(active.stroke, (one.clientX - box.left) / box.width, (one.clientY - box.top) / box.height, pressure);
    }
    changed();
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (active || event.button !== 0) return; // a palm does not interrupt a stroke
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
    canvas.focus({ preventScroll: true });
    cursor.hidden = true;
    dropPicture();
    active = { id: event.pointerId, stroke: [] };
    strokes.push(active.stroke);
    follow(event);
  });
  canvas.addEventListener("pointermove", follow);
  for (const end of /** @type {const} */ (["pointerup", "pointercancel", "lostpointercapture"]))
    canvas.addEventListener(end, (event) => {
      if (active && event.pointerId === active.id) active = null;
    });
  canvas.addEventListener("keydown", onKey);
  canvas.addEventListener("blur", () => (cursor.hidden = true));

  /** @param {KeyboardEvent} event */
  function onKey(event) {
    const step = /** @type {Record<string, [number, number]>} */ ({
      ArrowLeft: [-1, 0],
      ArrowRight: [1, 0],
      ArrowUp: [0, -1],
      ArrowDown: [0, 1],
    })[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (step) {
      place.x = Math.min(1, Math.max(0, place.x + step[0] * KEY_STEP));
      place.y = Math.min(1, Math.max(0, place.y + step[1] * KEY_STEP));
      if (place.isDown && strokes.length) extend(strokes[strokes.length - 1], place.x, place.y, 0.5);
    } else if (event.key === " ") {
      place.isDown = !place.isDown;
      if (place.isDown) {
        dropPicture();
        strokes.push([]);
        extend(strokes[strokes.length - 1], place.x, place.y, 0.5);
      }
    } else if (event.key === "Backspace") undo();
    else if (event.key === "Escape") clear();
    else return;
    event.preventDefault();
    cursor.hidden = false;
    cursor.classList.toggle("down", place.isDown);
    cursor.style.left = `${place.x * 100}%`;
    cursor.style.top = `${place.y * 100}%`;
    changed();
  }

  function dropPicture() {
    if (!picture) return;
    picture = null;
    strokes = [];
    redraw();
  }

  function undo() {
    place.isDown = false;
    active = null;
    if (strokes.length) strokes.pop();
    else picture = null;
    redraw();
    changed();
  }

  function clear() {
    place.isDown = false;
    active = null;
    strokes = [];
    picture = null;
    redraw();
    changed();
  }

  return {
    undo,
    clear,
    isEmpty: () => !strokes.length,
    hasPicture: () => picture !== null,
    /** Show a picture instead of a drawing. @param {CanvasImageSource} shown */
    show(shown) {
      strokes = [];
      active = null;
      place.isDown = false;
      picture = shown;
      redraw();
    },
    /** The drawing, white on black. @returns {ImageData} */
    pixels: () => pens[1].getImageData(0, 0, ANALYSIS_SIDE, ANALYSIS_SIDE),
  };
}

/** In the middle, as large as fits. @param {CanvasRenderingContext2D} pen @param {any} picture */
function drawPicture(pen, picture) {
  const side = pen.canvas.width;
  const scale = side / Math.max(picture.width, picture.height);
  const [width, height] = [picture.width * scale, picture.height * scale];
  pen.imageSmoothingEnabled = scale < 1;
  pen.drawImage(picture, (side - width) / 2, (side - height) / 2, width, height);
}
