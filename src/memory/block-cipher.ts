// The port behind which AES engines stand. The surface hands one in: node:crypto on the command line, a portable one in
// the browser. All are held to the same vectors, and none is visible to a guest.

/** One AES-128 key, expanded. Both work in place on a whole number of 16-byte blocks, each by itself (ECB). */
export interface AesKey {
  encrypt(blocks: Uint8Array): void;
  decrypt(blocks: Uint8Array): void;
}

export type AesEngine = { readonly name: string; readonly create: (key: Uint8Array) => AesKey };
