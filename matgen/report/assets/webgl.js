// Whether this browser can draw in 3D, and the library that does it, which starts when it is first needed.

let supported = null;

export function hasWebGL() {
  if (supported === null) {
    const canvas = document.createElement("canvas");
    const context = canvas.getContext("webgl2") ?? canvas.getContext("webgl");
    supported = context !== null;
    context?.getExtension("WEBGL_lose_context")?.loseContext();
  }
  return supported;
}

// The text of the library lies in the page; as a script it runs once.
export function library() {
  if (!globalThis.$3Dmol) {
    const script = document.createElement("script");
    script.textContent = document.getElementById("library-3dmol").textContent;
    document.head.append(script);
  }
  return globalThis.$3Dmol;
}
