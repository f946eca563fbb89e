// What XSAVE and its siblings save: the components, as bits of XCR0, and where they lie. APM vol. 2, 11.5; the place of PKRU is that
// of AMD's processors, which leaves room for AVX.

/** State components, as bits of XCR0, XSTATE_BV and the requested-feature bitmap. */
export const Component = { X87: 1n, SSE: 2n, YMM: 4n, PKRU: 0x200n } as const;

/** Component 9: a register of 4 bytes in 8. */
export const PKRU_COMPONENT = 9;
export const PKRU_BYTES = 8;
/** In the standard form; in the compacted one it follows the header. */
export const PKRU_OFFSET = 0x980;

/** The legacy region and the header. */
export const XSAVE_HEADER_END = 576;

/** What XCR0 may have set; bit 0 must be. `keys`: the processor has protection keys. */
export const xcr0Implemented = (keys: boolean): bigint => Component.X87 | Component.SSE | (keys ? Component.PKRU : 0n);

/** Bytes of an area with the components of a bitmap. */
export const xsaveSizes = (components: bigint): { readonly standard: number; readonly compacted: number } =>
  (components & Component.PKRU) !== 0n
    ? { standard: PKRU_OFFSET + PKRU_BYTES, compacted: XSAVE_HEADER_END + PKRU_BYTES }
    : { standard: XSAVE_HEADER_END, compacted: XSAVE_HEADER_END };
