// Branded identifiers: what each names, and that one never passes for another. Contains no behaviour beyond casts.

declare const brand: unique symbol;
type Branded<T extends string> = string & { readonly [brand]: T };

/** libp2p peer id of a node (Ed25519, `12D3KooW…`). */
export type NodeId = Branded<'NodeId'>;
/** Random id of a cluster, 16 bytes in hex. */
export type ClusterId = Branded<'ClusterId'>;
/** Random id of an app, 16 bytes as a UUID; stays when the app's name is reused. */
export type AppId = Branded<'AppId'>;
/**
 * Random id of a service instance, 16 bytes as a UUID. What runs of it is a workload like an app's, and its logs,
 * events and instances are kept by this id as by an app's (`asAppId` of it).
 */
export type ServiceId = Branded<'ServiceId'>;
/** Random id of a volume, 16 bytes as a UUID. */
export type VolumeId = Branded<'VolumeId'>;
/** Random id of one unbroken history of a volume's content: a recovery begins another. */
export type LineageId = Branded<'LineageId'>;
/** Random id of a binding, 16 bytes as a UUID. */
export type BindingId = Branded<'BindingId'>;
/** Random id of a release, 16 bytes as a UUID. Releases are ordered by (version, id). */
export type ReleaseId = Branded<'ReleaseId'>;
/** Id of one running copy; unique for ever: `<node suffix>-<life of the node>-<counter>`. */
export type InstanceId = Branded<'InstanceId'>;
/** Content address of a blob: `sha256:<64 hex digits>`. */
export type Digest = Branded<'Digest'>;

export const asNodeId = (text: string): NodeId => text as NodeId;
export const asClusterId = (text: string): ClusterId => text as ClusterId;
export const asAppId = (text: string): AppId => text as AppId;
export const asReleaseId = (text: string): ReleaseId => text as ReleaseId;
export const asInstanceId = (text: string): InstanceId => text as InstanceId;
export const asDigest = (text: string): Digest => text as Digest;
export const asServiceId = (text: string): ServiceId => text as ServiceId;
export const asVolumeId = (text: string): VolumeId => text as VolumeId;
export const asLineageId = (text: string): LineageId => text as LineageId;
export const asBindingId = (text: string): BindingId => text as BindingId;
