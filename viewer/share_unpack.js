// What every shared page begins with (share_page.py): its carried bytes, its sentence when it cannot run, and its lens.
const carried = (id) => {  // a stream of what the element with this name holds
    const text = document.getElementById(id).textContent.trim();
    const step = 1 << 20, parts = [];  // a multiple of four characters, so that every part can be decoded alone
    for (let i = 0; i < text.length; i += step) {
        parts.push(Uint8Array.from(atob(text.slice(i, i + step)), (c) => c.charCodeAt(0)));
    }
    return new Blob(parts).stream().pipeThrough(new DecompressionStream('gzip'));
};
const message = document.getElementById('message');
const fail = () => { message.textContent = message.dataset.fail; message.hidden = false; };
// The tangent of half the field of view along the longer side of the window. The picture of the first view fits the
// window's width with one and its height with the other: the smaller fills the window, the larger shows all of it.
// Nearer to filling it looks best, since nobody knows what is beyond the picture.
const lensTan = (view, aspect) => {
    const fits = [view.tanX * Math.max(1, 1 / aspect), view.tanY * Math.max(1, aspect)];
    return Math.min(Math.max(...fits) ** (1 / 3) * Math.min(...fits) ** (2 / 3), Math.tan(50 * Math.PI / 180));
};
