// Draws a splat that control points move, as fewview's renderer does (render/reference_rasterization.py).
//
// Three steps a picture: the control points' transforms at the moment go into a texture, and the Gaussians' depths give
// their order (here); a shader carries, projects and colours each Gaussian once, in that order (transform feedback), which
// is copied into a texture; and a quad for each is blended from back to front. The quads are one mesh and no instances,
// since each instance of four vertices costs a software renderer as much as a draw of its own. Sorting here costs a few milliseconds for what one page can hold, and
// no picture ever has the order of another moment, as it has with a worker.
const ROW = 2048;  // texels in a row of the data textures; every WebGL 2 has as many
const RESTING = 4;  // texels of a Gaussian before its neighbours
const CARRIED = 3;  // texels of a Gaussian once it is carried: centre, axes, colour
const MATRIX = 4;  // texels of a control point before its residuals

const CARRY = `#version 300 es
precision highp float; precision highp int; precision highp sampler2D;
uniform sampler2D gaussians, harmonics, points;
uniform int near, near4, pointTexels, degree;
uniform bool antialiased, quatResiduals, scaleResiduals;
uniform vec3 bounds;  // of the harmonics of degree 1, 2 and 3
uniform mat3 camFromWorld; uniform vec3 eye;
uniform vec2 tanHalf, size; uniform float nearPlane;
in uint index;
out vec4 center; out vec4 axes; out vec4 color;

vec4 at(sampler2D data, int i) { return texelFetch(data, ivec2(i % ${ROW}, i / ${ROW}), 0); }
vec4 product(vec4 a, vec4 b) {  // of quaternions w, x, y, z
    return vec4(a.x * b.x - dot(a.yzw, b.yzw), a.x * b.yzw + b.x * a.yzw + cross(a.yzw, b.yzw));
}
mat3 rotation(vec4 q) {
    q = dot(q, q) > 0.0 ? normalize(q) : vec4(1, 0, 0, 0);
    float w = q.x, x = q.y, y = q.z, z = q.w;
    return mat3(1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y + w * z), 2.0 * (x * z - w * y),
                2.0 * (x * y - w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z + w * x),
                2.0 * (x * z + w * y), 2.0 * (y * z - w * x), 1.0 - 2.0 * (x * x + y * y));
}
vec3 band(int first, int k, float bound) { return (2.0 * at(harmonics, first + k).rgb - 1.0) * bound; }
vec3 seenFrom(vec3 d, vec3 constant) {
    vec3 c = 0.5 + 0.28209479177387814 * constant;
    int first = int(index) * (degree * (degree + 2));
    float x = d.x, y = d.y, z = d.z, xx = x * x, yy = y * y, zz = z * z;
    if (degree > 0) {
        c += 0.4886025119029199 * bounds.x * (-y * band(first, 0, 1.0) + z * band(first, 1, 1.0) - x * band(first, 2, 1.0));
    }
    if (degree > 1) {
        c += bounds.y * (1.092548430592079 * (x * y * band(first, 3, 1.0) - y * z * band(first, 4, 1.0)
                - x * z * band(first, 6, 1.0) + 0.5 * (xx - yy) * band(first, 7, 1.0))
            + 0.31539156525252 * (2.0 * zz - xx - yy) * band(first, 5, 1.0));
    }
    if (degree > 2) {
        c += bounds.z * (-0.5900435899266435 * (y * (3.0 * xx - yy) * band(first, 8, 1.0)
                + x * (xx - 3.0 * yy) * band(first, 14, 1.0))
            + 2.890611442640554 * x * y * z * band(first, 9, 1.0)
            - 0.4570457994644657 * (4.0 * zz - xx - yy) * (y * band(first, 10, 1.0) + x * band(first, 12, 1.0))
            + 0.3731763325901154 * z * (2.0 * zz - 3.0 * xx - 3.0 * yy) * band(first, 11, 1.0)
            + 1.445305721320277 * z * (xx - yy) * band(first, 13, 1.0));
    }
    return max(c, 0.0);
}
void main() {
    center = vec4(2); axes = vec4(0); color = vec4(0); gl_Position = vec4(2, 2, 2, 1);
    int first = int(index) * (${RESTING} + 2 * near4);
    vec4 resting = at(gaussians, first), quat = at(gaussians, first + 1);
    vec3 scales = at(gaussians, first + 2).xyz;
    // Linear blend skinning: what the weights leave to one stands still.
    vec3 place = resting.xyz, moved = vec3(0); vec4 turn = vec4(0), leading = vec4(1, 0, 0, 0), more = vec4(0);
    float left = 1.0;
    for (int k = 0; k < near; k++) {
        int point = pointTexels * int(at(gaussians, first + ${RESTING} + k / 4)[k % 4]);
        float weight = at(gaussians, first + ${RESTING} + near4 + k / 4)[k % 4];
        vec4 q = at(points, point + 3), one = vec4(place, 1);
        if (k == 0) { leading = q; }
        left -= weight;
        moved += weight * vec3(dot(at(points, point), one), dot(at(points, point + 1), one), dot(at(points, point + 2), one));
        turn += weight * (dot(q, leading) < 0.0 ? -q : q);
        if (quatResiduals) { more += weight * at(points, point + ${MATRIX}); }
        if (scaleResiduals) { scales += weight * at(points, point + ${MATRIX} + int(quatResiduals)).xyz; }
    }
    vec3 world = moved + left * place;
    turn += max(left, 0.0) * vec4(leading.x < 0.0 ? -1.0 : 1.0, 0, 0, 0);
    quat = quatResiduals ? quat + more : product(turn, quat);
    if (scaleResiduals) { scales = max(scales, 1e-7); }

    vec3 cam = camFromWorld * (world - eye);
    if (!(cam.z > nearPlane)) { return; }
    vec2 focal = size / (2.0 * tanHalf);
    mat3 spread = camFromWorld * rotation(quat) * mat3(scales.x, 0, 0, 0, scales.y, 0, 0, 0, scales.z);
    vec2 tangent = clamp(cam.xy / cam.z, -1.3 * tanHalf, 1.3 * tanHalf);
    mat3 rows = transpose(spread);
    vec3 across = focal.x / cam.z * (rows[0] - tangent.x * rows[2]);
    vec3 along = focal.y / cam.z * (rows[1] - tangent.y * rows[2]);
    float xx = dot(across, across), yy = dot(along, along), xy = dot(across, along);
    vec3 area = cross(across, along);
    float sharp = dot(area, area), blurred = sharp + 0.3 * (xx + yy) + 0.09;
    float alpha = resting.w * (antialiased ? sqrt(sharp / blurred) : 1.0);
    if (!(alpha > 1.0 / 255.0)) { return; }
    xx += 0.3; yy += 0.3;
    float middle = 0.5 * (xx + yy), apart = sqrt(max(0.0, 0.25 * (xx - yy) * (xx - yy) + xy * xy));
    float long2 = middle + apart, short2 = max(blurred / long2, 1e-12);
    vec2 direction = abs(xy) > 1e-9 ? normalize(vec2(xy, long2 - xx)) : xx >= yy ? vec2(1, 0) : vec2(0, 1);
    float radius = sqrt(2.0 * log(255.0 * alpha));
    vec2 reach = radius * sqrt(vec2(xx, yy));
    vec2 pixel = focal * cam.xy / cam.z;  // from the middle of the picture
    if (any(greaterThan(abs(pixel) - reach, 0.5 * size))) { return; }
    vec2 toClip = vec2(2, -2) / size;
    center.xy = pixel * toClip;
    axes = vec4(sqrt(long2) * direction * toClip, sqrt(short2) * vec2(-direction.y, direction.x) * toClip);
    color = vec4(seenFrom(normalize(world - eye), at(gaussians, first + 3).rgb), alpha);
}`;
const NOTHING = `#version 300 es
precision mediump float; out vec4 none; void main() { none = vec4(0); }`;
const QUAD = `#version 300 es
precision highp float; precision highp int; precision highp sampler2D;
uniform sampler2D carried;
out vec2 sigmas; flat out vec4 tint;
vec4 at(int i) { return texelFetch(carried, ivec2(i % ${ROW}, i / ${ROW}), 0); }
void main() {
    int first = ${CARRIED} * (gl_VertexID >> 2);
    vec2 corner = vec2(gl_VertexID & 1, gl_VertexID >> 1 & 1) * 2.0 - 1.0;
    vec4 axes = at(first + 1);
    tint = at(first + 2);
    sigmas = corner * sqrt(2.0 * log(max(255.0 * tint.a, 1.0)));
    gl_Position = vec4(at(first).xy + sigmas.x * axes.xy + sigmas.y * axes.zw, 0, 1);
}`;
const BLEND = `#version 300 es
precision highp float;
in vec2 sigmas; flat in vec4 tint; out vec4 pixel;
void main() {
    float alpha = min(0.999, tint.a * exp(-0.5 * dot(sigmas, sigmas)));
    if (alpha < 1.0 / 255.0) { discard; }
    pixel = vec4(tint.rgb * alpha, alpha);
}`;

// The arrays of moving_pack.py in the carried bytes, by name.
const unpacked = (parts, bytes) => {
    const kinds = {f4: Float32Array, u2: Uint16Array, i2: Int16Array, u1: Uint8Array}, arrays = {};
    let at = 0;
    for (const [name, kind, length] of parts) {
        arrays[name] = new kinds[kind](bytes, at, length);
        at += arrays[name].byteLength;
    }
    return arrays;
};

// Float32 [T][M * C] of a track: 16 bits between bounds, each moment as the difference from the one before.
const track = (bounds, packed, moments, points) => {
    const channels = bounds.mins.length, rows = Array.from({length: moments}, () => new Float32Array(points * channels));
    for (let c = 0; c < channels; c++) {
        const level = new Uint16Array(points), step = (bounds.maxs[c] - bounds.mins[c]) / 65535;
        for (let t = 0, i = c * moments * points; t < moments; t++) {
            for (let m = 0; m < points; m++, i++) {
                level[m] += packed[i];  // wraps around, as the difference did
                rows[t][m * channels + c] = bounds.mins[c] + step * level[m];
            }
        }
    }
    return rows;
};

class MovingSplat {
    constructor(canvas, view, bytes) {
        const gl = this.gl = canvas.getContext('webgl2', {antialias: false, alpha: false, depth: false});
        if (!gl) { throw new Error('no WebGL 2'); }
        Object.assign(this, {canvas, view, count: view.count, near: view.near});
        const a = this.arrays = unpacked(view.parts, bytes);
        const one = (name) => track(view.tracks[name], a[name], 1, view.points)[0];
        const all = (name) => view.tracks[name] && track(view.tracks[name], a[name], view.times.length, view.points);
        this.places = one('points');
        [this.shifts, this.turns, this.quatResiduals, this.scaleResiduals] =
            ['shifts', 'turns', 'quat_residuals', 'scale_residuals'].map(all);
        this.pointTexels = MATRIX + Number(!!this.quatResiduals) + Number(!!this.scaleResiduals);
        this.pointData = new Float32Array(ROW * Math.ceil(view.points * this.pointTexels / ROW) * 4);
        this.weights = Float32Array.from(a.weights, (w) => w / 65535 * view.maxWeight);
        this.depths = new Float32Array(this.count);
        this.keys = new Uint16Array(this.count);
        this.order = new Uint32Array(this.count);
        this.load();
    }

    // Everything that lives on the graphics card and does not change.
    load() {
        const gl = this.gl, {count, view} = this;
        this.carry = this.program(CARRY, NOTHING, ['center', 'axes', 'color']);
        this.quad = this.program(QUAD, BLEND);
        const texture = (unit, internal, type, data) => {
            gl.activeTexture(gl.TEXTURE0 + unit);
            gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
            gl.texImage2D(gl.TEXTURE_2D, 0, internal, ROW, data.length / 4 / ROW, 0, gl.RGBA, type, data);
            for (const side of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) { gl.texParameteri(gl.TEXTURE_2D, side, gl.NEAREST); }
        };
        texture(0, gl.RGBA32F, gl.FLOAT, this.gaussianTexels());
        texture(1, gl.RGBA8, gl.UNSIGNED_BYTE, this.harmonicTexels());
        texture(2, gl.RGBA32F, gl.FLOAT, this.pointData);
        this.carriedRows = Math.ceil(count * CARRIED / ROW);
        texture(3, gl.RGBA32F, gl.FLOAT, new Float32Array(4 * ROW * this.carriedRows));
        this.carried = gl.createBuffer();
        gl.bindBuffer(gl.PIXEL_UNPACK_BUFFER, this.carried);
        gl.bufferData(gl.PIXEL_UNPACK_BUFFER, 16 * ROW * this.carriedRows, gl.DYNAMIC_COPY);
        gl.bindBuffer(gl.PIXEL_UNPACK_BUFFER, null);
        this.feedback = gl.createTransformFeedback();
        gl.bindTransformFeedback(gl.TRANSFORM_FEEDBACK, this.feedback);
        gl.bindBufferBase(gl.TRANSFORM_FEEDBACK_BUFFER, 0, this.carried);
        gl.bindTransformFeedback(gl.TRANSFORM_FEEDBACK, null);
        this.indices = gl.createBuffer();
        this.reading = gl.createVertexArray();
        gl.bindVertexArray(this.reading);
        gl.bindBuffer(gl.ARRAY_BUFFER, this.indices);
        gl.bufferData(gl.ARRAY_BUFFER, 4 * count, gl.DYNAMIC_DRAW);
        const index = gl.getAttribLocation(this.carry.program, 'index');
        gl.enableVertexAttribArray(index);
        gl.vertexAttribIPointer(index, 1, gl.UNSIGNED_INT, 0, 0);
        this.drawing = gl.createVertexArray();
        gl.bindVertexArray(this.drawing);
        const corners = Uint32Array.from({length: 6 * count}, (_, i) => 4 * Math.floor(i / 6) + [0, 1, 2, 2, 1, 3][i % 6]);
        gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
        gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, corners, gl.STATIC_DRAW);
        gl.bindVertexArray(null);
        gl.useProgram(this.quad.program);
        this.quad.set.carried('uniform1i', 3);
        const set = this.carry.set;
        gl.useProgram(this.carry.program);
        set.gaussians('uniform1i', 0); set.harmonics('uniform1i', 1); set.points('uniform1i', 2);
        set.near('uniform1i', this.near); set.near4('uniform1i', Math.ceil(this.near / 4));
        set.pointTexels('uniform1i', this.pointTexels); set.degree('uniform1i', view.degree);
        set.antialiased('uniform1i', view.antialiased);
        set.quatResiduals('uniform1i', !!this.quatResiduals); set.scaleResiduals('uniform1i', !!this.scaleResiduals);
        set.bounds('uniform3fv', view.harmonicBounds); set.nearPlane('uniform1f', view.nearPlane);
        gl.disable(gl.DEPTH_TEST);
        gl.enable(gl.BLEND);
        gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    }

    program(vertex, fragment, captured) {
        const gl = this.gl, program = gl.createProgram();
        for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
            const shader = gl.createShader(kind);
            gl.shaderSource(shader, source);
            gl.compileShader(shader);
            gl.attachShader(program, shader);
        }
        if (captured) { gl.transformFeedbackVaryings(program, captured, gl.INTERLEAVED_ATTRIBS); }
        gl.linkProgram(program);
        if (!gl.getProgramParameter(program, gl.LINK_STATUS)) { throw new Error(gl.getProgramInfoLog(program)); }
        const set = {};  // set.name(how, ...values) sets the uniform of that name
        for (let i = 0; i < gl.getProgramParameter(program, gl.ACTIVE_UNIFORMS); i++) {
            const {name} = gl.getActiveUniform(program, i), where = gl.getUniformLocation(program, name);
            set[name] = (how, ...values) => gl[how](where, ...values);
        }
        return {program, set: new Proxy(set, {get: (all, name) => all[name] ?? (() => {})})};  // unused ones are not there
    }

    gaussianTexels() {
        const {count, near, view, arrays: a, weights} = this, near4 = Math.ceil(near / 4), texels = RESTING + 2 * near4;
        const data = new Float32Array(ROW * Math.ceil(count * texels / ROW) * 4);
        const between = (bounds, c, u) => bounds.mins[c] + (bounds.maxs[c] - bounds.mins[c]) * u / 65535;
        for (let i = 0; i < count; i++) {
            const at = i * texels * 4;
            for (let c = 0; c < 3; c++) {
                data[at + c] = a.means[c * count + i];
                data[at + 8 + c] = Math.exp(between(view.logScales, c, a.log_scales[c * count + i]));
                data[at + 12 + c] = between(view.colors, c, a.colors[c * count + i]);
            }
            data[at + 3] = a.opacities[i] / 65535;
            for (let c = 0; c < 4; c++) { data[at + 4 + c] = a.quats[c * count + i] / 32767; }
            for (let k = 0; k < near; k++) {
                data[at + 4 * RESTING + k] = a.neighbours[k * count + i];
                data[at + 4 * (RESTING + near4) + k] = weights[k * count + i];
            }
        }
        return data;
    }

    harmonicTexels() {
        const {count, view, arrays: a} = this, rest = view.degree * (view.degree + 2);
        const data = new Uint8Array(ROW * Math.max(1, Math.ceil(count * rest / ROW)) * 4);
        for (let i = 0; i < count; i++) {
            for (let k = 0; k < rest; k++) {
                for (let c = 0; c < 3; c++) { data[(i * rest + k) * 4 + c] = a.harmonics[(k * 3 + c) * count + i]; }
            }
        }
        return data;
    }

    // The control points at a moment: affine maps from canonical places, turns and residuals.
    pose(time) {
        const {view, places, pointData: data} = this, times = view.times;
        let before = 0;
        while (before + 2 < times.length && times[before + 1] <= time) { before++; }
        const after = Math.min(before + 1, times.length - 1);
        const share = after > before ? Math.min(1, Math.max(0, (time - times[before]) / (times[after] - times[before]))) : 0;
        const mix = (rows, i) => rows[before][i] + share * (rows[after][i] - rows[before][i]);
        for (let m = 0; m < view.points; m++) {
            const at = 4 * m * this.pointTexels, q = [0, 1, 2, 3].map((c) => mix(this.turns, 4 * m + c));
            const norm = Math.hypot(...q);
            const [w, x, y, z] = norm > 0 ? q.map((v) => v / norm) : [1, 0, 0, 0];
            const rows = [
                [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]
            ];
            rows.forEach((row, r) => {
                data.set(row, at + 4 * r);
                const turned = row[0] * places[3 * m] + row[1] * places[3 * m + 1] + row[2] * places[3 * m + 2];
                data[at + 4 * r + 3] = places[3 * m + r] + mix(this.shifts, 3 * m + r) - turned;
            });
            data.set([w, x, y, z], at + 12);
            let next = at + 4 * MATRIX;
            if (this.quatResiduals) {
                for (let c = 0; c < 4; c++) { data[next + c] = mix(this.quatResiduals, 4 * m + c); }
                next += 4;
            }
            if (this.scaleResiduals) {
                for (let c = 0; c < 3; c++) { data[next + c] = mix(this.scaleResiduals, 3 * m + c); }
            }
        }
        const gl = this.gl;
        gl.activeTexture(gl.TEXTURE2);
        gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, ROW, data.length / 4 / ROW, gl.RGBA, gl.FLOAT, data);
    }

    // `order`: the Gaussians by depth along `forward`, the farthest first, by counting their 16-bit depths.
    sort(forward) {
        const {count, near, arrays: a, weights, depths, keys, order, pointData: data} = this, [fx, fy, fz] = forward;
        const lines = new Float32Array(4 * this.view.points), {means, neighbours} = a;
        for (let m = 0; m < this.view.points; m++) {  // depth is linear in the canonical place, for each control point
            const at = 4 * m * this.pointTexels;
            for (let c = 0; c < 4; c++) { lines[4 * m + c] = fx * data[at + c] + fy * data[at + 4 + c] + fz * data[at + 8 + c]; }
        }
        let low = Infinity, high = -Infinity;
        for (let i = 0; i < count; i++) {
            const x = means[i], y = means[count + i], z = means[2 * count + i];
            let left = 1, depth = 0;
            for (let j = i; j < near * count; j += count) {
                const m = 4 * neighbours[j], weight = weights[j];
                depth += weight * (lines[m] * x + lines[m + 1] * y + lines[m + 2] * z + lines[m + 3]);
                left -= weight;
            }
            depths[i] = depth += left * (fx * x + fy * y + fz * z);
            if (depth < low) { low = depth; }
            if (depth > high) { high = depth; }
        }
        const scale = high > low ? 65535 / (high - low) : 0, starts = new Uint32Array(65537);
        for (let i = 0; i < count; i++) {
            keys[i] = (high - depths[i]) * scale;
            starts[keys[i] + 1]++;
        }
        for (let k = 0; k < 65536; k++) { starts[k + 1] += starts[k]; }
        for (let i = 0; i < count; i++) { order[starts[keys[i]]++] = i; }
    }

    // camera: eye [3] and the axes right, down, forward [3] in the page's frame, tanHalf [x, y] of the window.
    draw(camera, time) {
        const gl = this.gl, {carry, canvas, view, count} = this, {right, down, forward} = camera;
        this.pose(time);
        this.sort(forward);
        gl.useProgram(carry.program);
        carry.set.camFromWorld('uniformMatrix3fv', false, [0, 1, 2].flatMap((c) => [right[c], down[c], forward[c]]));
        carry.set.eye('uniform3fv', camera.eye);
        carry.set.tanHalf('uniform2fv', camera.tanHalf);
        carry.set.size('uniform2f', canvas.width, canvas.height);
        gl.bindVertexArray(this.reading);
        gl.bindBuffer(gl.ARRAY_BUFFER, this.indices);
        gl.bufferSubData(gl.ARRAY_BUFFER, 0, this.order);
        gl.bindBuffer(gl.ARRAY_BUFFER, null);  // what is captured may be bound nowhere else
        gl.enable(gl.RASTERIZER_DISCARD);
        gl.bindTransformFeedback(gl.TRANSFORM_FEEDBACK, this.feedback);
        gl.beginTransformFeedback(gl.POINTS);
        gl.drawArrays(gl.POINTS, 0, count);
        gl.endTransformFeedback();
        gl.bindTransformFeedback(gl.TRANSFORM_FEEDBACK, null);
        gl.disable(gl.RASTERIZER_DISCARD);
        gl.activeTexture(gl.TEXTURE3);
        gl.bindBuffer(gl.PIXEL_UNPACK_BUFFER, this.carried);
        gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, ROW, this.carriedRows, gl.RGBA, gl.FLOAT, 0);
        gl.bindBuffer(gl.PIXEL_UNPACK_BUFFER, null);
        gl.viewport(0, 0, canvas.width, canvas.height);
        gl.clearColor(...view.background, 1);
        gl.clear(gl.COLOR_BUFFER_BIT);
        gl.useProgram(this.quad.program);
        gl.bindVertexArray(this.drawing);
        gl.drawElements(gl.TRIANGLES, 6 * count, gl.UNSIGNED_INT, 0);
    }
}
