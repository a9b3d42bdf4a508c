// Starts a shared page of a still splat: hands what the page carries to the program, or says what is missing.
const start = async () => {
    try {  // The list of keys would cover a part of the picture; a button opens it.
        localStorage.controlsPanelOpen ??= 'false';
    } catch { /* no storage here */ }
    if (!document.createElement('canvas').getContext('webgl2')) { fail(); return; }
    const view = JSON.parse(document.getElementById('view').textContent);
    const fov = 2 * Math.atan(lensTan(view, innerWidth / innerHeight)) * 180 / Math.PI;
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
