// Starts a shared page (share_page.py): unpacks what the page carries and hands it to the program, or says what is missing.
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
const start = async () => {
    try {  // The list of keys would cover a part of the picture; a button opens it.
        localStorage.controlsPanelOpen ??= 'false';
    } catch { /* no storage here */ }
    if (!document.createElement('canvas').getContext('webgl2')) { fail(); return; }
    const view = JSON.parse(document.getElementById('view').textContent);
    // The program wants the field of view along the longer side of the window. The picture of the first view fits the
    // window's width with one and its height with the other: the smaller fills the window, the larger shows all of it.
    // Nearer to filling it looks best, since nobody knows what is beyond the picture.
    const aspect = innerWidth / innerHeight;
    const fits = [view.tanX * Math.max(1, 1 / aspect), view.tanY * Math.max(1, aspect)];
    const tan = Math.min(...fits) ** (2 / 3) * Math.max(...fits) ** (1 / 3);
    const fov = Math.min(100, 2 * Math.atan(tan) * 180 / Math.PI);
    const settings = view.settings;
    settings.cameras[0].initial.fov = fov;
    for (const track of settings.animTracks) { track.keyframes.values.fov.fill(fov); }
    globalThis.fewview = {
        settings,
        container: document.body,
        contentUrl: 'scene',
        contentFilename: view.filename,
        contents: Promise.resolve(new Response(carried('splat'))),
        renderer: 'webgl',  // every browser has it, and only it draws antialiased splats as they were trained
        aa: view.antialiased,
        noanim: true,
        started(viewer) {
            viewer.events.once('loaded:changed', () => {
                message.hidden = true;
                // What interrupts the motion goes back to the mode before it, and that should be the orbit.
                viewer.state.cameraMode = 'orbit';
                if (settings.animTracks.length && !matchMedia('(prefers-reduced-motion: reduce)').matches) {
                    viewer.state.cameraMode = 'anim';
                    viewer.state.animationPaused = false;
                }
                document.documentElement.dataset.state = 'shown';
            });
        },
        fail
    };
    const program = document.createElement('script');
    program.type = 'module';
    program.textContent = await new Response(carried('program')).text();
    document.head.append(program);
};
start().catch(fail);
