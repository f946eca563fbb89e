// How far the results of approximate instructions may be from the recorded ones. RCPPS, RSQRTPS and their scalar forms promise a
// relative error below 1.5 x 2^-12 (APM vol. 4); x87 transcendentals one unit in the last place (APM vol. 5), so that two
// implementations differ in the last two bits at most.

/** Two approximations of one value, each within the promise. */
const LANE_ERROR = 2 * 1.5 * 2 ** -12;
const LAST_PLACES = 3n;

const lane = new DataView(new ArrayBuffer(4));

function asFloat(bits: bigint): number {
  lane.setUint32(0, Number(bits));
  return lane.getFloat32(0);
}

/** Four floats, each near the other's. */
export function nearVectors(a: bigint, b: bigint): boolean {
  for (let n = 0n; n < 4n; n++) {
    const [x, y] = [BigInt.asUintN(32, a >> (32n * n)), BigInt.asUintN(32, b >> (32n * n))];
    if (x !== y && !(Math.abs(asFloat(x) - asFloat(y)) <= LANE_ERROR * Math.abs(asFloat(y)))) return false;
  }
  return true;
}

/** Two 80-bit numbers of one sign that differ in the last places: their encodings count up with the magnitude. */
export function nearExtended(a: bigint, b: bigint): boolean {
  const magnitude = (x: bigint): bigint => {
    const exponent = (x >> 64n) & 0x7fffn;
    return (exponent << 63n) | (x & 0x7fff_ffff_ffff_ffffn);
  };
  const distance = magnitude(a) - magnitude(b);
  return a >> 79n === b >> 79n && distance <= LAST_PLACES && distance >= -LAST_PLACES;
}

/** C1 says which way a result was rounded. */
export const FSW_C1 = 0x200n;
