// A shared page of a splat that moves: the view by mouse, touch and keys, and the player below it.
const element = (id) => document.getElementById(id);
const canvas = element('canvas'), slider = element('time'), playButton = element('play'), speed = element('speed');
const loop = element('loop'), shownTime = element('moment'), calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
const add = (a, b, s = 1) => a.map((v, i) => v + s * b[i]);
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const MAX_PIXELS = 2_600_000;  // of the drawing on dense screens: more would be drawn slower and look the same
const SLOW_MS = 70, QUICK_MS = 30, LEAST_SHARE = 0.3;  // from frame to frame while something moves; of the width then
const SHARP_AFTER_MS = 250;  // of rest

// A camera that turns around a target, y up.
class Orbit {
    constructor(view) {
        this.view = view;
        this.reset();
    }

    reset() {
        const from = add(this.view.position, this.view.target, -1);
        this.target = [...this.view.target];
        this.distance = Math.hypot(...from);
        this.azimuth = Math.atan2(from[0], from[2]);
        this.elevation = Math.asin(Math.max(-1, Math.min(1, from[1] / this.distance)));
    }

    turn(right, up) {
        this.azimuth -= right;
        this.elevation = Math.max(-1.55, Math.min(1.55, this.elevation + up));
    }

    approach(factor) {
        this.distance = Math.max(0.02, Math.min(1e4, this.distance * factor));
    }

    shift(dx, dy, tanHalf) {  // in shares of the window
        const {right, down} = this.camera(tanHalf), reach = 2 * this.distance;
        this.target = add(add(this.target, right, -dx * reach * tanHalf[0]), down, -dy * reach * tanHalf[1]);
    }

    camera(tanHalf) {
        const flat = Math.cos(this.elevation);
        const back = [flat * Math.sin(this.azimuth), Math.sin(this.elevation), flat * Math.cos(this.azimuth)];
        const right = [Math.cos(this.azimuth), 0, -Math.sin(this.azimuth)];
        return {eye: add(this.target, back, this.distance), right, down: cross(right, back), forward: back.map((v) => -v), tanHalf};
    }
}

const run = async () => {
    const view = JSON.parse(element('view').textContent);
    if (!document.createElement('canvas').getContext('webgl2')) { fail(); return; }
    const splat = new MovingSplat(canvas, view, await new Response(carried('splat')).arrayBuffer());
    const orbit = new Orbit(view), first = view.times[0], last = view.times.at(-1);
    let time = first, playing = false, stale = true, before = 0;

    const tanHalf = () => {
        const aspect = innerWidth / innerHeight, tan = lensTan(view, aspect);
        return aspect > 1 ? [tan, tan / aspect] : [tan * aspect, tan];
    };
    // A browser that draws in software gets fewer pixels while something moves, and all of them when it rests.
    let share = 1, shown = 1, drawnAt = 0;
    const fit = (wanted) => {
        const dense = Math.min(devicePixelRatio || 1, 2, Math.max(1, Math.sqrt(MAX_PIXELS / (innerWidth * innerHeight))));
        shown = wanted;
        canvas.width = Math.max(1, Math.round(innerWidth * dense * wanted));
        canvas.height = Math.max(1, Math.round(innerHeight * dense * wanted));
        stale = true;
    };
    const adapt = (now) => {
        if (stale && before === drawnAt) {  // two frames after each other are drawn
            const took = now - before;
            if (took > SLOW_MS) { share = Math.max(LEAST_SHARE, share * 0.7); }
            if (took < QUICK_MS) { share = Math.min(1, share * 1.2); }
            if (share !== shown) { fit(share); }
        } else if (!stale && shown < 1 && now - drawnAt > SHARP_AFTER_MS) {
            fit(1);
        }
    };
    const goTo = (moment) => {
        time = Math.min(last, Math.max(first, moment));
        slider.value = time;
        shownTime.textContent = `${Number((time - first).toPrecision(3))} / ${Number((last - first).toPrecision(3))}`;
        stale = true;
    };
    const play = (wanted) => {
        playing = wanted && last > first;
        if (playing && time >= last) { goTo(first); }
        playButton.textContent = playing ? '❚❚' : '▶';
        playButton.setAttribute('aria-label', playing ? 'Pause' : 'Play');
    };
    const frame = (now) => {
        if (playing) {
            // A page that could not draw for a while, or was in the background, goes on from where it was.
            goTo(time + Math.min(0.25, (now - before) / 1000) * view.speed * Number(speed.value));
            if (time >= last) {
                if (loop.checked) { goTo(first); } else { play(false); }
            }
        }
        adapt(now);
        before = now;
        if (stale) {
            stale = false;
            drawnAt = now;
            splat.draw(orbit.camera(tanHalf()), time);
            document.documentElement.dataset.share = shown;
            document.documentElement.dataset.state = 'shown';
            document.documentElement.dataset.time = time;
        }
        requestAnimationFrame(frame);
    };

    // One pointer turns, with a key or another button it shifts; two shift and zoom.
    const held = new Map();
    canvas.addEventListener('pointerdown', (event) => {
        canvas.setPointerCapture(event.pointerId);
        held.set(event.pointerId, [event.clientX, event.clientY]);
    });
    const release = (event) => { held.delete(event.pointerId); };
    canvas.addEventListener('pointerup', release);
    canvas.addEventListener('pointercancel', release);
    canvas.addEventListener('pointermove', (event) => {
        const old = held.get(event.pointerId);
        if (!old) { return; }
        const dx = event.clientX - old[0], dy = event.clientY - old[1];
        if (held.size > 1) {
            const other = [...held].find(([id]) => id !== event.pointerId)[1];
            const length = (p) => Math.max(8, Math.hypot(p[0] - other[0], p[1] - other[1]));
            orbit.approach(length(old) / length([event.clientX, event.clientY]));
            orbit.shift(dx / 2 / innerWidth, dy / 2 / innerHeight, tanHalf());
        } else if (event.shiftKey || event.ctrlKey || event.metaKey || event.buttons & 6) {
            orbit.shift(dx / innerWidth, dy / innerHeight, tanHalf());
        } else {
            const side = Math.min(innerWidth, innerHeight);
            orbit.turn(4 * dx / side, 4 * dy / side);
        }
        held.set(event.pointerId, [event.clientX, event.clientY]);
        stale = true;
    });
    canvas.addEventListener('wheel', (event) => {
        event.preventDefault();
        const lines = event.deltaMode === 1 ? 24 : 1;
        orbit.approach(Math.exp(Math.max(-0.5, Math.min(0.5, event.deltaY * lines * 0.0015))));
        stale = true;
    }, {passive: false});
    canvas.addEventListener('contextmenu', (event) => event.preventDefault());
    canvas.addEventListener('dblclick', () => { orbit.reset(); stale = true; });
    canvas.addEventListener('webglcontextlost', () => location.reload());
    addEventListener('keydown', (event) => {
        const inControl = event.target.closest?.('button, select, input');
        if (event.key === ' ' && !inControl) {
            event.preventDefault();
            play(!playing);
        } else if (event.key === 'Home' && !inControl) {
            orbit.reset();
            stale = true;
        } else if ((event.key === 'ArrowLeft' || event.key === 'ArrowRight') && !inControl) {
            play(false);
            goTo(time + (event.key === 'ArrowLeft' ? -1 : 1) * (last - first) / 100);
        }
    });

    Object.assign(slider, {min: first, max: last, step: 'any'});
    slider.addEventListener('input', () => { play(false); goTo(Number(slider.value)); });
    playButton.addEventListener('click', () => play(!playing));
    addEventListener('resize', () => fit(shown));
    fit(1);
    goTo(first);
    play(!calm);
    message.hidden = true;
    element('player').hidden = false;
    requestAnimationFrame((now) => { before = now; frame(now); });
};
run().catch((error) => { console.error(error); fail(); });
