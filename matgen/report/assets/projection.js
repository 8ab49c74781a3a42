// A structure seen from a fixed direction: from the front, a little from above and from the right, c upwards.

const TURN = (25 * Math.PI) / 180;
const TILT = (14 * Math.PI) / 180;

export const VIEW = { turn: 25, tilt: 14 };

// [x, y, depth]: x to the right, y upwards, depth towards the eye.
export function projected([x, y, z]) {
  const right = x * Math.cos(TURN) + y * Math.sin(TURN);
  const back = -x * Math.sin(TURN) + y * Math.cos(TURN);
  return [right, z * Math.cos(TILT) + back * Math.sin(TILT), z * Math.sin(TILT) - back * Math.cos(TILT)];
}
