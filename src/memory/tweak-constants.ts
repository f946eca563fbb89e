// The tweak constants t_4 .. t_31 found on the first EPYC generation (SEVurity 2020): each is one 4-byte pattern repeated
// four times. Written as the bytes lie in memory, kept as little-endian words.

export const PUBLISHED_FIRST_BIT = 4;

const patterns: readonly number[] = [
  0x8225_3838,
  0xec09_079c,
  0x4000_0018,
  0x8102_a23a,
  0x77d9_1077,
  0xb010_b2c0,
  0x536d_544d,
  0x1568_ee53, // t4
  0xb092_30c2,
  0x9670_ff8e,
  0x361b_90d5,
  0x0400_c236,
  0xe818_2985,
  0xbd31_f92a,
  0xa50d_3744,
  0xf431_d84c, // t12
  0x0204_3181,
  0xb371_32a1,
  0x508a_c06c,
  0x168a_8020,
  0x7f9b_c007,
  0x00db_0407,
  0x7f00_0404,
  0x70fa_01be, // t20
  0xbb3d_2890,
  0xbd2d_d526,
  0x1c5d_6ce2,
  0x4f5c_e727, // t28
];

const swap = (word: number): number => (word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24);
export const publishedConstants: readonly number[] = patterns.map(swap);
