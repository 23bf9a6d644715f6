// Package oci writes container images as one tar archive in the layout of OCI's image specification 1.1, without a container engine.
//
// An [Index] is one image for several platforms. Layers that platforms share are stored once. The same index is the same bytes on every machine: files are
// sorted, and as old as [Index.Time]. Engines load the archive as it is; skopeo calls it oci-archive.
package oci
