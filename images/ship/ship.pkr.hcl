# A machine image for ships on Amazon EC2, by the script that the tests run: see docs/how-to/make-a-ship-image.md.

packer {
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = ">= 1.3"
    }
  }
}

variable "region" {
  type = string
}

variable "agent" {
  type        = string
  description = "What `mux ship bundle FILE` wrote, with the Python of Debian 12 and the architecture of the image."
}

variable "images" {
  type        = list(string)
  default     = []
  description = "Workspace images to have inside, as the event file names them."
}

variable "docker_config" {
  type        = string
  default     = ""
  description = "A Docker client configuration with a login that may pull them; it does not get into the image."
  sensitive   = true
}

variable "disk_gb" {
  type    = number
  default = 20
}

source "amazon-ebs" "ship" {
  region        = var.region
  instance_type = "t3.medium"
  ami_name      = "mux-ship-{{timestamp}}"
  ssh_username  = "admin"

  # Packer's own key, which is of no use afterwards.
  ssh_clear_authorized_keys = true

  source_ami_filter {
    owners      = ["136693071363"] # Debian
    most_recent = true
    filters = {
      name                = "debian-12-amd64-*"
      virtualization-type = "hvm"
      root-device-type    = "ebs"
    }
  }

  # Neither the machine that bakes nor one that is launched from the image gives its metadata to a container.
  imds_support = "v2.0"
  metadata_options {
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  encrypt_boot = true
  launch_block_device_mappings {
    device_name           = "/dev/xvda"
    volume_type           = "gp3"
    volume_size           = var.disk_gb
    iops                  = 3000 # these two are what gp3 has anyway; older Packers refuse a template without
    throughput            = 125
    delete_on_termination = true
  }
}

build {
  sources = ["source.amazon-ebs.ship"]

  provisioner "file" {
    source      = var.agent
    destination = "/tmp/agent.tar.gz"
  }

  provisioner "file" {
    source      = "${path.root}/bake"
    destination = "/tmp/bake"
  }

  provisioner "file" {
    content     = var.docker_config == "" ? "{}" : file(var.docker_config)
    destination = "/tmp/config.json"
  }

  provisioner "shell" {
    execute_command = "sudo env {{ .Vars }} bash '{{ .Path }}'"
    inline = [
      "set -eu",
      "cloud-init status --wait",
      "install -D -m 600 /tmp/config.json /root/.docker/config.json",
      "bash /tmp/bake --here --agent /tmp/agent.tar.gz ${join(" ", formatlist("--image '%s'", var.images))}",
      "rm -f /tmp/agent.tar.gz /tmp/bake /tmp/config.json",
    ]
  }
}
