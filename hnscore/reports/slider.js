// What a margin keeps, read from the counts in the page; nothing is computed here.
(function () {
  const slider = document.getElementById("margin");
  if (!slider) return;
  const curve = JSON.parse(document.getElementById("curve").textContent);
  const moved = document.getElementById("thresholds");
  const say = (id, text) => { document.getElementById(id).textContent = text; };
  const count = (x) => x.toLocaleString("en-US");
  const share = (x) => (100 * x).toPrecision(2) + "\u00a0%";
  function show() {
    const i = Number(slider.value), margin = curve.margins[i];
    const text = String(Number(margin.toFixed(6)));
    say("margin-value", text);
    say("pairs-value", count(curve.pairs[i]) + " (" + share(curve.pairs[i] / curve.n_pairs) + ")");
    say("images-value", count(curve.images[i]) + " (" + share(curve.images[i] / curve.n_img) + ")");
    slider.setAttribute("aria-valuetext", "margin " + text + ": " + count(curve.pairs[i]) + " pairs");
    moved.setAttribute("transform", "translate(" + (moved.dataset.margin - margin) * moved.dataset.unit + " 0)");
  }
  slider.addEventListener("input", show);
  show();
})();
