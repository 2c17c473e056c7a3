/** envoy/service/discovery/v3/ads.proto: the one method of it that is spoken here, for gRPC. */
export const deltaPath = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
