"""Additions to viser's page: its title, a report of what draws it, and a word when the server has gone.

They also take a file that is dropped on the page, and fold the panel of a phone.
"""

from __future__ import annotations

import gzip
import html
import http
import json

from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from ..scene.zlib_order import can_compress

ALIVE_PATH = "/alive"
ASK_ALIVE_MS = 4000
FOLD_WITHIN_MS = 20_000
# The page's own program sets no title but its name. The names of renderers are those in software of Chromium, Firefox
# and Mesa, and of Windows without a driver. viser's button for uploads does all that is to be done with a file that is
# dropped. In a narrow window viser has its panel at the bottom, open over most of the picture. Whoever wants to know if
# the server lives asks twice before it says no: one answer may be late while a large scene is sent.
_SCRIPT = """<script>
{
    const gl = document.createElement("canvas").getContext("webgl2");
    const names = gl && gl.getExtension("WEBGL_debug_renderer_info");
    const name = gl ? String(gl.getParameter(names ? names.UNMASKED_RENDERER_WEBGL : gl.RENDERER)) : "software";
    const software = /swiftshader|llvmpipe|softpipe|software|basic render/i.test(name);
    fetch("renderer?software=" + Number(software), {cache: "no-store"}).catch(() => {});
    if (gl && gl.getExtension("WEBGL_lose_context")) gl.getExtension("WEBGL_lose_context").loseContext();

    // viser's quad of a Gaussian has two numbers a corner where three.js reads three for the sphere around it, which is
    // then no number: an error for each page in the console. three.js tells its tools of each scene that it makes.
    const tools = window.__THREE_DEVTOOLS__ ||= new EventTarget();
    const spheres = new WeakSet();
    const everywhere = {center: {x: 0, y: 0, z: 0}, radius: Infinity};
    const mend = geometry => {
        let owner = geometry;
        while (owner && !Object.hasOwn(owner, "computeBoundingSphere")) owner = Object.getPrototypeOf(owner);
        if (!owner || spheres.has(owner)) return;
        spheres.add(owner);
        const compute = owner.computeBoundingSphere;
        owner.computeBoundingSphere = function () {
            const corners = this.attributes.position;
            if (corners && corners.itemSize === 2) this.boundingSphere = everywhere;
            else compute.call(this);
        };
    };
    tools.addEventListener("observe", event => {
        const node = event.detail && event.detail.isScene && Object.getPrototypeOf(Object.getPrototypeOf(event.detail));
        if (!node || spheres.has(node) || !Object.hasOwn(node, "add")) return;
        spheres.add(node);
        const add = node.add;
        node.add = function (...children) {
            for (const child of children) if (child && child.geometry) mend(child.geometry);
            return add.apply(this, children);
        };
    });

    const title = TITLE;
    const keepTitle = () => { if (document.title !== title) document.title = title; };
    new MutationObserver(keepTitle).observe(document.head, {childList: true, subtree: true, characterData: true});

    const gone = document.createElement("div");
    gone.id = "fewview-gone";
    gone.setAttribute("role", "alert");
    gone.textContent = "The viewer has ended or cannot be reached: nothing that is done here now is kept. Start it "
        + "again and open the address that it prints; edits up to now are offered in its Edit tab.";
    gone.style.cssText = "position:fixed;left:50%;bottom:24px;transform:translateX(-50%);max-width:min(560px,90vw);"
        + "padding:12px 16px;background:#7f1d1d;color:#fff;font:14px/1.4 system-ui,sans-serif;border-radius:8px;"
        + "z-index:100000;display:none;box-shadow:0 4px 24px rgba(0,0,0,.35)";
    let missed = 0;
    const ask = async () => {
        try {
            const answer = await fetch("alive", {cache: "no-store", signal: AbortSignal.timeout(10000)});
            missed = answer.status === 204 ? 0 : missed + 1;
        } catch { missed += 1; }
        gone.style.display = missed > 1 ? "block" : "none";
        setTimeout(ask, ASK_ALIVE_MS);
    };

    const holdsFiles = event => event.dataTransfer && event.dataTransfer.types.includes("Files");
    addEventListener("dragover", event => { if (holdsFiles(event)) event.preventDefault(); });
    addEventListener("drop", event => {
        if (!holdsFiles(event)) return;
        event.preventDefault();
        const input = document.querySelector("input[type=file][accept*='.ply']");
        if (!input || !event.dataTransfer.files.length) return;
        input.files = event.dataTransfer.files;
        input.dispatchEvent(new Event("change", {bubbles: true}));
    });

    const folded = new WeakSet();
    const fold = new MutationObserver(() => {
        const sheet = document.querySelector("[style*='position: fixed'][style*='max-height: 60%']");
        const bar = sheet && sheet.querySelector("[style*='cursor: pointer'][style*='height: 3.5em']");
        if (!bar || folded.has(bar)) return;
        folded.add(bar);
        bar.click();
    });
    fold.observe(document, {childList: true, subtree: true});
    addEventListener("pointerdown", () => fold.disconnect(), {once: true});
    setTimeout(() => fold.disconnect(), FOLD_WITHIN_MS);

    addEventListener("DOMContentLoaded", () => {
        keepTitle();
        document.body.append(gone);
        setTimeout(ask, ASK_ALIVE_MS);
    });
}
</script>"""


def answer(request: Request) -> Response | None:
    """The response to a page that asks if the server lives; None for any other request."""
    return no_content() if request.path == ALIVE_PATH else None


def no_content() -> Response:
    """The response to a page that wants to know no more than that it was heard."""
    status = http.HTTPStatus.NO_CONTENT
    return Response(status.value, status.phrase, Headers({"Connection": "close"}))


def completed(response: Response, title: str) -> Response:
    """The page with our lines in it; other files as they are."""
    if not response.headers.get("Content-Type", "").startswith("text/html"):
        return response
    packed = response.headers.get("Content-Encoding") == "gzip"
    page = gzip.decompress(response.body) if packed else response.body
    safe_title = json.dumps(title).replace("<", "\\u003c")  # a name may hold the end of a script
    script = _SCRIPT.replace("TITLE", safe_title, 1).replace("ASK_ALIVE_MS", str(ASK_ALIVE_MS))
    script = script.replace("FOLD_WITHIN_MS", str(FOLD_WITHIN_MS))
    page = page.replace(b"<title>Viser</title>", f"<title>{html.escape(title)}</title>".encode(), 1)
    page = page.replace(b"<head>", b"<head>" + script.encode(), 1)
    if packed and not can_compress():
        packed = False
        del response.headers["Content-Encoding"]
    response.body = gzip.compress(page, 1) if packed else page
    del response.headers["Content-Length"]
    response.headers["Content-Length"] = str(len(response.body))
    return response
