"use strict";
// Answers questions from the posterior draws that the page contains. It knows no formula of any law: each draw of the curve is a
// sum of surfaces over (log10 N, log10 D), cubic splines between the nodes of a grid (scalebayes/reports/live/surfaces.py).
(() => {
  const node = (id) => document.getElementById(id);
  const data = JSON.parse(node("live-data").textContent);
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
  const { draws, first, sizes, among, wide, narrow, scales, axes } = data;
  const nodes = sizes[0] * sizes[1];
  const rank = wide + narrow;
  const mean = new Float32Array(bytes(data.arrays.mean));
  const unseen = new Float32Array(bytes(data.arrays.unseen));
  const surfaces = new Int16Array(bytes(data.arrays.components));
  const wideDraws = new Int16Array(bytes(data.arrays.wideDraws));
  const narrowDraws = new Int8Array(bytes(data.arrays.narrowDraws));
  const levels = new Float32Array(bytes(data.arrays.levels));

  // Weights of the components in each draw, a row a draw.
  const weights = new Float32Array(draws * rank);
  for (let k = 0; k < rank; k++) {
    for (let s = 0; s < draws; s++) {
      weights[s * rank + k] = k < wide ? wideDraws[k * draws + s] : narrowDraws[(k - wide) * draws + s];
    }
  }

  // Places in nodes from the first: closer among the runs than beyond them, with smooth bends.
  const [many, few, bend] = data.nodes;
  const softplus = (z) => Math.max(z, 0) + Math.log1p(Math.exp(-Math.abs(z)));
  function place(x, axis) {
    const [low, high] = among[axis];
    return few * x + (many - few) * bend * (softplus((x - low) / bend) - softplus((x - high) / bend)) - first[axis];
  }

  const cubic = (t) => [(1 - t) ** 3 / 6, (3 * t ** 3 - 6 * t ** 2 + 4) / 6, (-3 * t ** 3 + 3 * t ** 2 + 3 * t + 1) / 6, t ** 3 / 6];

  // Values of every component, the mean and the unseen variance at places.
  function surfacesAt(places) {
    const components = new Float64Array(places.length * rank);
    const middle = new Float64Array(places.length);
    const variance = new Float64Array(places.length);
    places.forEach(([logN, logD], p) => {
      const x = place(logN, 0);
      const y = place(logD, 1);
      const i = Math.floor(x);
      const j = Math.floor(y);
      const wx = cubic(x - i);
      const wy = cubic(y - j);
      for (let a = 0; a < 4; a++) {
        for (let b = 0; b < 4; b++) {
          const w = wx[a] * wy[b];
          const at = (i - 1 + a) * sizes[1] + (j - 1 + b);
          middle[p] += w * mean[at];
          variance[p] += w * unseen[at];
          for (let k = 0; k < rank; k++) components[p * rank + k] += w * scales[k] * surfaces[k * nodes + at];
        }
      }
      variance[p] = Math.sqrt(Math.max(variance[p], 0));
    });
    return { components, middle, spread: variance };
  }

  function logLoss(at, s, p) {
    let value = at.middle[p];
    for (let k = 0; k < rank; k++) value += weights[s * rank + k] * at.components[p * rank + k];
    return value;
  }

  // Median and bounds of draws, which are sorted in place.
  function interval(values) {
    values.sort();
    const quantile = (level) => {
      const at = level * (values.length - 1);
      const low = Math.floor(at);
      return values[low] + (at - low) * (values[Math.min(low + 1, values.length - 1)] - values[low]);
    };
    const tail = (1 - data.ci_prob) / 2;
    return [quantile(0.5), quantile(tail), quantile(1 - tail)];
  }

  const within = (value, [low, high]) => value >= low - 1e-9 && value <= high + 1e-9;

  // Loss of the curve and of a single run at (log10 N, log10 D).
  function askRun(logN, logD) {
    if (!within(logN, data.N)) return { wrong: outside("N", data.N) };
    if (!within(logD, data.D)) return { wrong: outside("D", data.D) };
    const at = surfacesAt([[logN, logD]]);
    const curve = new Float64Array(draws);
    const single = new Float64Array(draws);
    for (let s = 0; s < draws; s++) {
      const log = logLoss(at, s, 0) + levels[s] * at.spread[0];
      curve[s] = Math.exp(log);
      single[s] = Math.exp(log + levels[draws + s]);
    }
    return { loss: interval(curve), newRun: interval(single) };
  }

  const ALONG = 0.025; // decades of D between places along a budget
  const FEW = 0.005; // draws that may find no optimum within the grid

  // Optimum of each draw for 6 N D + 2 N T = C: the least of the places along the budget, then a parabola through it.
  // Along the data, not the size: where most of a budget serves, sizes crowd at their largest.
  function askBudget(logC, served) {
    if (!within(logC, data.C)) return { wrong: outside("C", data.C) };
    const size = (logD) => logC - Math.log10(6 * (10 ** logD + served / 3));
    const places = [];
    for (let logD = data.D[0]; within(logD, data.D); logD += ALONG) {
      if (within(size(logD), data.N)) places.push([size(logD), logD]);
    }
    if (places.length < 3) return { wrong: "So much serving leaves this budget no run that this page knows of." };
    const at = surfacesAt(places);
    const found = { N: [], D: [], ratio: [], loss: [] };
    const values = new Float64Array(places.length);
    for (let s = 0; s < draws; s++) {
      let best = 0;
      for (let p = 0; p < places.length; p += 2) { // every second place, then those beside the least
        values[p] = logLoss(at, s, p);
        if (values[p] < values[best]) best = p;
      }
      for (const p of [best - 1, best + 1]) if (p in values) values[p] = logLoss(at, s, p);
      if (values[best - 1] < values[best]) best -= 1;
      else if (values[best + 1] < values[best]) best += 1;
      if (best === 0 || best >= places.length - 1) continue;
      const [left, middle, right] = [values[best - 1], values[best], values[best + 1]];
      const shift = (0.5 * (left - right)) / (left - 2 * middle + right);
      const logD = places[best][1] + shift * ALONG;
      const beside = best + Math.sign(shift);
      const spread = at.spread[best] + Math.abs(shift) * (at.spread[beside] - at.spread[best]);
      found.N.push(10 ** size(logD));
      found.D.push(10 ** logD);
      found.ratio.push(10 ** (logD - size(logD)));
      found.loss.push(Math.exp(middle - 0.25 * (left - right) * shift + levels[s] * spread));
    }
    if (found.N.length < (1 - FEW) * draws) return { wrong: "The optimum lies beyond what this page knows of." };
    return Object.fromEntries(Object.entries(found).map(([name, list]) => [name, interval(Float64Array.from(list))]));
  }

  const LETTERS = [["T", 12], ["B", 9], ["M", 6], ["K", 3]];

  function quantity(value, digits = 3) {
    if (!Number.isFinite(value)) return String(value);
    const [mantissa, exponent] = value.toExponential(digits - 1).split("e");
    if (Number(exponent) >= 15) return `${Number(mantissa)}e${Number(exponent)}`;
    const [letter, power] = LETTERS.find(([, least]) => Number(exponent) >= least) ?? ["", 0];
    return `${Number((Number(`${mantissa}e${Number(exponent) - power}`)).toPrecision(digits))}${letter}`;
  }

  function parse(text) {
    const match = /^\s*(\d[\d,_]*\.?\d*|\.\d+)(?:e([+-]?\d{1,3}))?\s*([kmbgt]?)\s*$/i.exec(text);
    if (!match) return NaN;
    const power = { "": 0, K: 3, M: 6, B: 9, G: 9, T: 12 }[match[3].toUpperCase()];
    return Number(`${match[1].replace(/[,_]/g, "")}e${Number(match[2] ?? 0) + power}`);
  }

  const scale = ([middle, low, high]) => `${quantity(middle)} [${quantity(low)}, ${quantity(high)}]`;

  // As many decimals as the interval's width warrants, or digits where no number of decimals suits both ends.
  function plain([middle, low, high]) {
    if (low > 0 && 5 * low < high && high >= 0.1) {
      return `${Number(middle.toPrecision(3))} [${Number(low.toPrecision(3))}, ${Number(high.toPrecision(3))}]`;
    }
    const decimals = Math.min(4, Math.max(0, 1 - Math.floor(Math.log10(high - low))));
    return `${middle.toFixed(decimals)} [${low.toFixed(decimals)}, ${high.toFixed(decimals)}]`;
  }

  const outside = (name, [low, high]) => `This page knows ${name} from ${quantity(10 ** low, 2)} to ${quantity(10 ** high, 2)}.`;

  function beyond(logC) {
    const decades = logC - data.largest;
    return decades < 0.005 ? "no more compute" : `${decades.toFixed(2)} orders of magnitude`;
  }

  // Marks on the figure.
  const drawing = node("figure-live-frontier");
  const [left, bottom, right, top] = axes.box;
  const x = (log) => left + ((log - axes.x[0]) / (axes.x[1] - axes.x[0])) * (right - left);
  const y = (log) => bottom + ((log - axes.y[0]) / (axes.y[1] - axes.y[0])) * (top - bottom);
  const shape = (name) => drawing.appendChild(document.createElementNS("http://www.w3.org/2000/svg", name));
  const [ring, square, bar] = [shape("circle"), shape("rect"), shape("line")];
  const marks = [ring, square, bar];
  marks.forEach((mark) => mark.setAttribute("class", "mark"));
  const put = (mark, values) => Object.entries(values).forEach(([name, value]) => mark.setAttribute(name, value.toFixed(2)));
  const show = (mark, logC, logN) => mark.toggleAttribute("hidden", !(within(logC, axes.x) && within(logN, axes.y)));

  const asked = { N: data.start.N, D: data.start.D, C: data.start.C, T: 0 };
  const tell = (name, text) => { node(`tell-${name}`).textContent = text; };

  function showRun() {
    const { N, D } = asked;
    const logC = Math.log10(6) + N + D;
    const answer = askRun(N, D);
    node("wrong-run").textContent = answer.wrong ?? "";
    tell("run-loss", answer.wrong ? "" : plain(answer.loss));
    tell("run-new", answer.wrong ? "" : plain(answer.newRun));
    tell("run-C", `${quantity(10 ** logC)} FLOP`);
    tell("run-ratio", quantity(10 ** (D - N)));
    tell("run-beyond", beyond(logC));
    put(ring, { cx: x(logC), cy: y(N), r: 5 });
    show(ring, logC, N);
  }

  function showBudget() {
    const answer = askBudget(asked.C, asked.T);
    node("wrong-budget").textContent = answer.wrong ?? "";
    tell("best-N", answer.wrong ? "" : scale(answer.N));
    tell("best-D", answer.wrong ? "" : scale(answer.D));
    tell("best-ratio", answer.wrong ? "" : plain(answer.ratio));
    tell("best-loss", answer.wrong ? "" : plain(answer.loss));
    square.toggleAttribute("hidden", Boolean(answer.wrong));
    bar.toggleAttribute("hidden", Boolean(answer.wrong));
    tell("best-beyond", answer.wrong ? "" : beyond(asked.C));
    if (answer.wrong) return;
    const [middle, low, high] = answer.N.map(Math.log10);
    const logC = Math.log10(6 * answer.N[0] * answer.D[0]); // of training
    tell("best-beyond", beyond(logC));
    put(square, { x: x(logC) - 4.5, y: y(middle) - 4.5, width: 9, height: 9 });
    put(bar, { x1: x(logC), x2: x(logC), y1: y(Math.max(low, axes.y[0])), y2: y(Math.min(high, axes.y[1])) });
    show(square, logC, middle);
    show(bar, logC, middle);
  }

  // Inputs: a text and a slider for each quantity, whichever was moved last. Tokens served: the slider's first place is none.
  const ranges = { N: data.N, D: data.D, C: data.C, T: data.T };
  const waiting = new Set();

  function update(show) {
    if (waiting.has(show)) return;
    waiting.add(show);
    requestAnimationFrame(() => { waiting.delete(show); show(); });
  }

  function set(name, value, from) {
    const [text, slider] = [node(`ask-${name}`), node(`slide-${name}`)];
    const [low, high] = ranges[name];
    const log = name === "T" ? (value > 0 ? Math.log10(value) : -Infinity) : value;
    asked[name] = value;
    const shown = name === "T" ? quantity(value) : quantity(10 ** value);
    if (from !== text) text.value = shown;
    text.removeAttribute("aria-invalid");
    if (from !== slider) slider.value = log === -Infinity ? 0 : Math.max(0, Math.min(1000, Math.round((1000 * (log - low)) / (high - low))));
    slider.setAttribute("aria-valuetext", shown);
    update(name === "N" || name === "D" ? showRun : showBudget);
  }

  for (const name of ["N", "D", "C", "T"]) {
    const [text, slider] = [node(`ask-${name}`), node(`slide-${name}`)];
    const [low, high] = ranges[name];
    text.addEventListener("input", () => {
      const value = parse(text.value);
      const good = Number.isFinite(value) && (name === "T" ? value >= 0 : value > 0);
      text.toggleAttribute("aria-invalid", !good);
      if (!good) { text.setAttribute("aria-invalid", "true"); return; }
      set(name, name === "T" ? value : Math.log10(value), text);
    });
    text.addEventListener("change", () => {
      if (text.getAttribute("aria-invalid") === "true") set(name, asked[name]);
    });
    slider.addEventListener("input", () => {
      const log = low + (Number(slider.value) / 1000) * (high - low);
      set(name, name === "T" ? (slider.value === "0" ? 0 : Number((10 ** log).toPrecision(2))) : log, slider);
    });
  }

  const still = node("figure-frontier");
  if (still) still.closest("figure").inert = true;
  document.body.classList.add("asked"); // one frontier is enough where this one moves; print shows the other
  document.querySelectorAll(".scripted").forEach((part) => part.removeAttribute("hidden"));
  for (const name of ["N", "D", "C", "T"]) set(name, asked[name]);
})();
